/** A mistake of whoever typed the command: it is said, with a pointer to the help, and the exit code is 2. */
export class Misuse extends Error {}
