"""Prepared radiographs with a label in, signs of the disease inside the lungs out.

``encoder`` and ``features`` describe what is inside the lungs by numbers, ``classifier`` makes a probability of them,
``evidence`` says where in the lungs it comes from, and ``study`` measures how much of it holds at another hospital.
May import raw, model, prepared, prediction and the files at the root.
"""
