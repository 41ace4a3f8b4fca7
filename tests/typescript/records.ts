/** Agents, environments, sessions, models: the calls that need no sandbox. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { all, message, MODEL, newSession, say } from './turns.js';

export function records(connect: (options?: object) => Anthropic): void {
  test('an agent is created, updated into versions, listed and archived', async () => {
    const client = connect();
    const agent = await client.beta.agents.create({ name: 'a', model: MODEL, metadata: { team: 'x' } });
    assert.equal(agent.version, 1);
    assert.deepEqual(await client.beta.agents.retrieve(agent.id), agent);
    const second = await client.beta.agents.update(agent.id, { version: 1, system: 'new' });
    assert.equal(second.version, 2);
    const versions = await all(client.beta.agents.versions.list(agent.id, { limit: 1 }));
    assert.deepEqual(versions.map((version) => version.version), [2, 1]);
    assert.equal((await client.beta.agents.retrieve(agent.id, { version: 1 })).system, null);
    assert.ok((await client.beta.agents.archive(agent.id)).archived_at);
    const listed = await all(client.beta.agents.list({ limit: 100 }));
    assert.ok(!listed.some((other) => other.id === agent.id));
  });

  test('an environment is created, updated, listed, archived and deleted', async () => {
    const client = connect();
    const environment = await client.beta.environments.create({ name: 'e' });
    assert.deepEqual(await client.beta.environments.retrieve(environment.id), environment);
    assert.equal((await client.beta.environments.update(environment.id, { name: 'f' })).name, 'f');
    assert.ok((await all(client.beta.environments.list())).some((other) => other.id === environment.id));
    assert.ok((await client.beta.environments.archive(environment.id)).archived_at);
    assert.equal((await client.beta.environments.delete(environment.id)).type, 'environment_deleted');
  });

  test('a vault has credentials that are shown without their secrets', async () => {
    const client = connect();
    const vault = await client.beta.vaults.create({ display_name: 'v' });
    assert.deepEqual(await client.beta.vaults.retrieve(vault.id), vault);
    assert.equal((await client.beta.vaults.update(vault.id, { display_name: 'w' })).display_name, 'w');
    const secret = 'token-0123456789';
    const auth = { type: 'static_bearer' as const, mcp_server_url: 'https://mcp.example/a', token: secret };
    const credential = await client.beta.vaults.credentials.create(vault.id, { auth });
    assert.ok(!JSON.stringify(credential).includes(secret));
    assert.deepEqual((await all(client.beta.vaults.credentials.list(vault.id))).map((each) => each.id), [credential.id]);
    await assert.rejects(client.beta.vaults.credentials.create(vault.id, { auth }), Anthropic.ConflictError);
    const { agent, environment } = await newSession(client);
    const session = await client.beta.sessions.create({
      agent: agent.id,
      environment_id: environment.id,
      vault_ids: [vault.id],
    });
    assert.deepEqual(session.vault_ids, [vault.id]);
    assert.ok((await client.beta.vaults.archive(vault.id)).archived_at);
    assert.equal((await client.beta.vaults.delete(vault.id)).type, 'vault_deleted');
  });

  test('a session is created, updated, paged both ways, archived and deleted', async () => {
    const client = connect();
    const { agent, environment, session } = await newSession(client);
    const updated = await client.beta.sessions.update(session.id, { title: 'new', metadata: { a: 'b' } });
    assert.equal(updated.title, 'new');
    const second = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const page = await client.beta.sessions.list({ agent_id: agent.id, limit: 1 });
    assert.deepEqual(page.data.map((each) => each.id), [second.id]);
    assert.deepEqual((await page.getNextPage()).data.map((each) => each.id), [session.id]);
    assert.equal((await client.beta.sessions.archive(session.id)).status, 'terminated');
    await assert.rejects(
      client.beta.sessions.events.send(session.id, { events: [message(say('x'))] }),
      Anthropic.BadRequestError,
    );
    assert.equal((await client.beta.sessions.delete(second.id)).type, 'session_deleted');
    await assert.rejects(client.beta.sessions.retrieve(second.id), Anthropic.NotFoundError);
  });

  test('hosting of an environment is resolved, merged, reset and refused by its place', async () => {
    const client = connect();
    const config = (hosting: object | null): any => ({ config: { type: 'cloud', hosting } });
    const given = { pattern: 'shared', idle_timeout: '15m', resources: { memory: '512MiB' } };
    const environment: any = await client.beta.environments.create({ name: 'h', ...config(given) });
    const { pattern, idle_timeout, max_sessions, resources } = environment.config.hosting;
    assert.deepEqual([pattern, idle_timeout, max_sessions, resources.memory], ['shared', 900, 8, 536_870_912]);
    const changed: any = await client.beta.environments.update(environment.id, config({ max_sessions: 2 }));
    assert.deepEqual([changed.config.hosting.max_sessions, changed.config.hosting.idle_timeout], [2, 900]);
    const reset: any = await client.beta.environments.update(environment.id, config(null));
    assert.equal(reset.config.hosting.pattern, 'hybrid');
    await assert.rejects(client.beta.environments.create({ name: 'h', ...config({ pool: { min: 2 } }) }), (error) => {
      assert.ok(error instanceof Anthropic.BadRequestError);
      assert.match(error.message, /config\.hosting\.pool\.min/);
      return true;
    });
  });

  test('an agent has a daily limit', async () => {
    const client = connect();
    const limits = { max_cost_per_day: { amount: '500', currency: 'USD' } };
    const agent: any = await client.beta.agents.create({ name: 'l', model: MODEL, limits } as any);
    assert.deepEqual(agent.limits, limits);
    const free: any = await client.beta.agents.update(agent.id, { version: 1, limits: null } as any);
    assert.equal(free.limits, null);
  });

  test('models are listed and retrieved', async () => {
    const client = connect();
    const models = await all(client.beta.models.list());
    assert.ok(models.length > 0);
    assert.equal((await client.beta.models.retrieve(models[0]!.id)).id, models[0]!.id);
  });

  test('an unknown field is a bad request that names it', async () => {
    const client = connect();
    const refused = client.beta.agents.create({ name: 'x', model: MODEL, colour: 'red' } as any);
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof Anthropic.BadRequestError);
      assert.match(error.message, /colour/);
      assert.match(error.requestID ?? '', /^req_/);
      return true;
    });
  });

  test('a conflict is told at once and not retried', async () => {
    const client = connect({ maxRetries: 3 });
    const agent = await client.beta.agents.create({ name: 'c', model: MODEL });
    await client.beta.agents.update(agent.id, { version: 1, system: 'first' });
    const started = Date.now();
    await assert.rejects(client.beta.agents.update(agent.id, { version: 1, system: 'second' }), Anthropic.ConflictError);
    // The first retry would have waited at least 375 ms.
    assert.ok(Date.now() - started < 350);
  });

  test('a wrong key is an authentication error', async () => {
    await assert.rejects(connect({ apiKey: 'wrong' }).beta.agents.list(), Anthropic.AuthenticationError);
  });
}
