/** The Agent SDK's session store, kept by a Hostel server. */
import {
  foldSessionSummary,
  type SessionKey,
  type SessionStore,
  type SessionStoreEntry,
  type SessionSummaryEntry,
} from '@anthropic-ai/claude-agent-sdk';
import { HostelError, Server, type ServerOptions } from './http.js';

/** Summaries that are remembered between appends; of a forgotten one the server is asked again. */
const SUMMARIES = 256;
/** How often an append is tried while other writers replace the session's summary. */
const TRIES = 10;

interface Page<T> {
  data: T[];
  next_page: string | null;
}

interface Summary {
  revision: number;
  data: SessionSummaryEntry['data'];
}

interface Row {
  session_id: string;
  mtime: number;
  summary: Summary | null;
}

/**
 * Keeps transcripts in Hostel, where every process with the same key finds them.
 *
 * An entry that has a `uuid` is kept once, however often it is sent, so repeating an append whose answer was lost is
 * safe. Summaries are replaced together with the entries that they were folded from; writers of one session at the
 * same time fold anew until all have been heard.
 */
export class HostelSessionStore implements SessionStore {
  readonly #server: Server;
  readonly #summaries = new Map<string, Summary>();
  /** The append that is under way: those of one store come one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ServerOptions = {}) {
    this.#server = new Server(options);
  }

  /** Adds entries to a transcript. */
  async append(key: SessionKey, entries: SessionStoreEntry[]): Promise<void> {
    if (entries.length === 0) return;
    if (key.subpath) {
      await this.#server.ask('POST', path(key), {}, { subpath: key.subpath, entries });
      return;
    }
    const turn = this.#last.then(() => this.#appendMain(key, entries));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #appendMain(key: SessionKey, entries: SessionStoreEntry[]): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#appendWithSummary(key, entries);
      } catch (error) {
        this.#summaries.delete(path(key));
        const outdated = error instanceof HostelError && error.status === 409;
        if (!outdated || tries === TRIES) throw error;
        // By chance, so that writers who met once do not meet again.
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 5 * 2 ** tries));
      }
    }
  }

  async #appendWithSummary(key: SessionKey, entries: SessionStoreEntry[]): Promise<void> {
    const known = this.#summaries.get(path(key)) ?? (await this.#summary(key));
    const before = known && { sessionId: key.sessionId, mtime: 0, data: known.data };
    const { data } = foldSessionSummary(before, key, entries);
    const summary = { revision: known?.revision ?? 0, data };
    const answer = await this.#server.ask<{ revision: number }>('POST', path(key), {}, { entries, summary });
    this.#summaries.delete(path(key));
    this.#summaries.set(path(key), { revision: answer.revision, data });
    if (this.#summaries.size > SUMMARIES) this.#summaries.delete(this.#summaries.keys().next().value!);
  }

  async #summary(key: SessionKey): Promise<Summary | undefined> {
    const rows = await this.#rows(key.projectKey, { session_id: key.sessionId });
    return rows[0]?.summary ?? undefined;
  }

  /** All entries of a transcript; null when there never was one. */
  async load(key: SessionKey): Promise<SessionStoreEntry[] | null> {
    try {
      return await this.#pages<SessionStoreEntry>(path(key), file(key));
    } catch (error) {
      if (error instanceof HostelError && error.status === 404) return null;
      throw error;
    }
  }

  /** The sessions of a project. */
  async listSessions(projectKey: string): Promise<Array<{ sessionId: string; mtime: number }>> {
    const rows = await this.#rows(projectKey);
    return rows.map((row) => ({ sessionId: row.session_id, mtime: row.mtime }));
  }

  /** The summaries of a project's sessions. */
  async listSessionSummaries(projectKey: string): Promise<SessionSummaryEntry[]> {
    const rows = await this.#rows(projectKey);
    return rows.flatMap(({ session_id: sessionId, mtime, summary }) =>
      summary ? [{ sessionId, mtime, data: summary.data }] : [],
    );
  }

  /** Deletes a session with everything under it, or one of its subagents' transcripts. */
  async delete(key: SessionKey): Promise<void> {
    this.#summaries.delete(path(key));
    await this.#server.ask('DELETE', path(key), file(key));
  }

  /** The transcripts of a session beside the main one. */
  async listSubkeys(key: { projectKey: string; sessionId: string }): Promise<string[]> {
    return this.#pages<string>(`${path(key)}/subkeys`, {});
  }

  #rows(projectKey: string, query: Record<string, string> = {}): Promise<Row[]> {
    return this.#pages<Row>(`/v1/session_store/${encodeURIComponent(projectKey)}`, query);
  }

  async #pages<T>(where: string, query: Record<string, string>): Promise<T[]> {
    const found: T[] = [];
    for (let page: string | null = ''; page !== null; ) {
      const answer: Page<T> = await this.#server.ask('GET', where, { ...query, ...(page && { page }) });
      found.push(...answer.data);
      page = answer.next_page;
    }
    return found;
  }
}

function path(key: { projectKey: string; sessionId: string }): string {
  return `/v1/session_store/${encodeURIComponent(key.projectKey)}/${encodeURIComponent(key.sessionId)}`;
}

function file(key: SessionKey): Record<string, string> {
  return key.subpath ? { subpath: key.subpath } : {};
}
