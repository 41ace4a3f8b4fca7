/** Requests to a Hostel server. */

/** Where the server is and how to get in. */
export interface ServerOptions {
  /** Address of the server; `HOSTEL_BASE_URL` when it is not given. */
  baseURL?: string;
  /** A key of the server; `HOSTEL_API_KEY` when it is not given. */
  apiKey?: string;
  /** How long a request may take, in milliseconds; 30,000 when it is not given. */
  timeout?: number;
}

/** What a Hostel server refused, in its own words. */
export class HostelError extends Error {
  override readonly name = 'HostelError';

  constructor(
    readonly status: number,
    readonly reason: string,
    readonly requestId: string | null,
  ) {
    super(`${reason} (status ${status}, request ${requestId})`);
  }
}

export class Server {
  readonly #baseURL: string;
  readonly #apiKey: string;
  readonly #timeout: number;

  constructor(options: ServerOptions) {
    const baseURL = options.baseURL ?? process.env['HOSTEL_BASE_URL'];
    const apiKey = options.apiKey ?? process.env['HOSTEL_API_KEY'];
    if (!baseURL || !apiKey) throw new TypeError('pass baseURL and apiKey, or set HOSTEL_BASE_URL and HOSTEL_API_KEY');
    this.#baseURL = baseURL.replace(/\/+$/, '');
    this.#apiKey = apiKey;
    this.#timeout = options.timeout ?? 30_000;
  }

  /** The answer's JSON; rejects with a {@link HostelError} when it is none of success. */
  async ask<T>(method: string, path: string, query: Record<string, string> = {}, body?: unknown): Promise<T> {
    const search = new URLSearchParams(query).toString();
    const response = await fetch(`${this.#baseURL}${path}${search && `?${search}`}`, {
      method,
      headers: { 'x-api-key': this.#apiKey, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(this.#timeout),
    });
    const text = await response.text();
    if (response.ok) return JSON.parse(text) as T;
    throw new HostelError(response.status, messageOf(text) ?? response.statusText, response.headers.get('request-id'));
  }
}

function messageOf(text: string): string | undefined {
  try {
    return (JSON.parse(text) as { error: { message: string } }).error.message;
  } catch {
    return text.slice(0, 200) || undefined;
  }
}
