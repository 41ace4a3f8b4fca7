/** The Agent SDK with its session store in Hostel: the contract that the Python SDK publishes as a suite, and a real session. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { query, type SDKResultMessage, type SessionStoreEntry } from '@anthropic-ai/claude-agent-sdk';
import { HostelError, HostelSessionStore } from '../../sdk/typescript/src/index.js';
import { claude, type Server, startModel } from './server.js';

const KEY = { projectKey: 'proj', sessionId: 'sess' };
const SUB = { ...KEY, subpath: 'subagents/agent-1' };
const entry = (fields: object): SessionStoreEntry => ({ type: 'x', ...fields });

export function sessionStore(server: Server): void {
  /** A store that nobody has used: of a workspace of its own. */
  const fresh = async (): Promise<HostelSessionStore> => new HostelSessionStore({ baseURL: server.baseURL, apiKey: await key(server) });

  test('entries come back in order, those with a uuid once', async () => {
    const store = await fresh();
    assert.equal(await store.load(KEY), null);
    await store.append(KEY, [entry({ uuid: 'b', n: 1 }), entry({ uuid: 'a', n: [2, null, 0.5, 'ü'] })]);
    await store.append(KEY, []);
    await store.append(KEY, [entry({ uuid: 'a', n: 3 }), entry({ n: 4 })]);
    const kept = [entry({ uuid: 'b', n: 1 }), entry({ uuid: 'a', n: [2, null, 0.5, 'ü'] }), entry({ n: 4 })];
    assert.deepEqual(await store.load(KEY), kept);
    assert.equal(await store.load({ ...KEY, subpath: 'none' }), null);
  });

  test('projects and subpaths are apart, and only main transcripts are listed', async () => {
    const store = await fresh();
    await store.append(KEY, [entry({ n: 1 })]);
    await store.append(SUB, [entry({ n: 2 })]);
    await store.append({ projectKey: 'other', sessionId: 'sess' }, [entry({ n: 3 })]);
    assert.deepEqual(await store.load(SUB), [entry({ n: 2 })]);
    const listed = await store.listSessions('proj');
    assert.deepEqual(listed.map((session) => session.sessionId), ['sess']);
    assert.ok(listed[0]!.mtime > 1e12);
    assert.deepEqual(await store.listSubkeys(KEY), ['subagents/agent-1']);
    assert.deepEqual(await store.listSessions('never'), []);
    await store.delete(SUB);
    assert.deepEqual(await store.listSubkeys(KEY), []);
    await store.append(SUB, [entry({ n: 2 })]);
    await store.delete(KEY);
    await store.delete(KEY);
    assert.equal(await store.load(KEY), null);
    assert.equal(await store.load(SUB), null);
    assert.equal((await store.load({ projectKey: 'other', sessionId: 'sess' }))?.length, 1);
  });

  test('summaries are kept as they were folded, also by several writers', async () => {
    const apiKey = await key(server);
    const stores = [1, 2, 3].map(() => new HostelSessionStore({ baseURL: server.baseURL, apiKey }));
    await Promise.all(
      stores.map(async (store, writer) => {
        for (let n = 0; n < 5; n += 1) await store.append(KEY, [entry({ uuid: `${writer}-${n}`, customTitle: 'title' })]);
      }),
    );
    await stores[0]!.append(SUB, [entry({ customTitle: 'of a subagent' })]);
    assert.equal((await stores[0]!.load(KEY))?.length, 15);
    const [summary, ...more] = await stores[0]!.listSessionSummaries('proj');
    assert.equal(more.length, 0);
    assert.ok(JSON.stringify(summary!.data).includes('"title"'), JSON.stringify(summary));
    const [listed] = await stores[0]!.listSessions('proj');
    assert.ok(summary!.mtime >= listed!.mtime);
  });

  test('a session goes on on another machine', async () => {
    const model = await startModel();
    const home = mkdtempSync(join(tmpdir(), 'hostel-ts-sdk-'));
    const cwd = join(home, 'workspace');
    mkdirSync(cwd);
    const sessionStore = await fresh();
    const ask = async (machine: string, prompt: string, resume?: string): Promise<SDKResultMessage> => {
      const env = {
        PATH: process.env['PATH'] ?? '', HOME: join(home, machine), CLAUDE_CONFIG_DIR: join(home, machine, 'claude'),
        ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: 'dummy',
      };
      mkdirSync(env.HOME);
      const options = { sessionStore, cwd, env, pathToClaudeCodeExecutable: claude(), settingSources: [], ...(resume && { resume }) };
      for await (const message of query({ prompt, options })) {
        if (message.type === 'result') return message;
      }
      throw new Error('there was no result');
    };
    try {
      const first = await ask('one', '@say the word is heron');
      const second = await ask('two', '@say still here', first.session_id);
      assert.deepEqual([second.subtype, second.session_id], ['success', first.session_id]);
      const [{ projectKey }] = [{ projectKey: cwd.replace(/[^A-Za-z0-9]/g, '-') }];
      const kept = await sessionStore.load({ projectKey, sessionId: first.session_id });
      assert.equal(kept?.filter((line) => line.type === 'assistant').length, 2);
    } finally {
      model.stop();
      rmSync(home, { recursive: true, force: true });
    }
  });

  test('what cannot be kept says why', async () => {
    const store = await fresh();
    const astray = store.append({ ...KEY, subpath: '../../etc' }, [entry({})]);
    await assert.rejects(astray, (error: HostelError) => error.status === 400 && /subpath/.test(error.reason));
    assert.throws(() => new HostelSessionStore(), /HOSTEL_BASE_URL/);
  });
}

let workspaces = 0;

/** A key of a workspace that nobody has used. */
async function key(server: Server): Promise<string> {
  const post = async (path: string, body: object): Promise<Record<string, string>> => {
    const headers = { 'x-api-key': server.apiKey, 'content-type': 'application/json' };
    const response = await fetch(`${server.baseURL}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    assert.ok(response.ok, await response.clone().text());
    return (await response.json()) as Record<string, string>;
  };
  const workspace = await post('/v1/workspaces', { name: `ts ${(workspaces += 1)}` });
  const made = await post('/v1/api_keys', { name: 'k', scope: 'sessions', workspace_id: workspace['id'] });
  return made['key']!;
}
