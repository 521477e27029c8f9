/** Seconds that a person spent on a film: time between actions, without the pauses. */

const PAUSE_S = 15; // whoever does nothing for longer is not working on the film

export class Clock {
  constructor(now = () => performance.now() / 1000) {
    Object.assign(this, { now, last: now(), seconds: 0 });
  }

  /** Note an action. */
  touch() {
    const now = this.now();
    this.seconds += Math.min(now - this.last, PAUSE_S);
    this.last = now;
  }

  /** The seconds since the last call, which begin anew. */
  take() {
    const { seconds } = this;
    this.seconds = 0;
    return seconds;
  }
}
