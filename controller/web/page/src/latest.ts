/**
 * Answers that come when they come. Whoever asks twice wants the second answer, and the
 * first may come later: it must not take the second one's place.
 */
export class Latest {
  private asked = 0;

  /**
   * Asks again, and so drops whatever was asked before. The function that it returns says
   * whether this question is still the newest: it is to be called after each wait.
   */
  ask(): () => boolean {
    const mine = ++this.asked;
    return () => mine === this.asked;
  }
}
