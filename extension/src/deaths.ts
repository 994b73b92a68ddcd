/** The rule when to give the sidecar up: at the fifth death within three minutes, as VS Code does it. */
export class Deaths {
  private readonly at: number[] = [];

  static readonly most = 5;
  static readonly within = 3 * 60_000;

  /** Takes down a death, and says whether to start again. */
  again(now: number): boolean {
    this.at.push(now);
    while (this.at[0] !== undefined && now - this.at[0] >= Deaths.within) this.at.shift();
    return this.at.length < Deaths.most;
  }
}
