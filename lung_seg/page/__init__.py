"""The local page: a person looks at radiographs and corrects their masks, and the network learns from them.

Enters: radiographs of a folder or dropped on the page, and what predict.py left of them.
Leaves: masks and predictions.csv as predict.py writes them, corrections as ``data=folder`` reads them, and over HTTP
the same predictions for other programs.
May import: ``prediction``, ``prepared``, ``raw`` and the files at the root. FastAPI, Starlette and uvicorn are imported
in this room alone; training runs in a process of its own.
"""
