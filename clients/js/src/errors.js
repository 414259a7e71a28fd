// What can go wrong: the service's own problems, the connection, the clock.

// `code` is stable and made to be switched on, the message is for people. Codes are the service's,
// or connection_failed, timed_out, bad_answer; `status` is the HTTP status where there was one.
export class AtpnError extends Error {
  constructor(code, detail, { status = null, retryAfterS = null, cause } = {}) {
    super(detail, { cause });
    this.name = "AtpnError";
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}
