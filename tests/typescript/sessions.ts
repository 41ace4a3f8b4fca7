/** Turns: a real claude in a real sandbox, seen through the official client. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { all, custom, message, newSession, say, shell, texts, turn, until } from './turns.js';

const idleTimes = (times: number) => (events: { type: string }[]) =>
  events.filter((event) => event.type === 'session.status_idle').length >= times;

export function sessions(connect: (options?: object) => Anthropic): void {
  test('a turn runs a command inside and answers, live and listed alike', async () => {
    const client = connect();
    const { session } = await newSession(client);
    const live = await turn(client, session.id, shell('echo inside'), say('ok'));
    assert.deepEqual(texts(live), ['ok']);
    const result = live.find((event) => event.type === 'agent.tool_result')!;
    assert.match(result['content'][0].text, /inside/);
    assert.deepEqual(live.at(-1)!['stop_reason'], { type: 'end_turn' });
    const listed = await all(client.beta.sessions.events.list(session.id, { limit: 3 }));
    const ids = new Set(live.map((event) => event.id));
    assert.deepEqual(listed.filter((event) => ids.has(event.id)), live);
  });

  test('deltas are a prefix of the message', async () => {
    const client = connect();
    const { session } = await newSession(client);
    const stream = await client.beta.sessions.events.stream(session.id, { event_deltas: ['agent.message'] });
    await client.beta.sessions.events.send(session.id, { events: [message(say('one two three four five six'))] });
    const events = await until(stream, idleTimes(1));
    const joined = events
      .filter((event) => event.type === 'event_delta')
      .map((event) => event['delta'].content.text)
      .join('');
    const final = events.find((event) => event.type === 'agent.message')!;
    assert.ok(joined.length > 0 && final['content'][0].text.startsWith(joined));
  });

  for (const result of ['allow', 'deny'] as const) {
    test(`a call that asks is answered with ${result}`, async () => {
      const client = connect();
      const { session } = await newSession(client, [
        { type: 'agent_toolset_20260401', default_config: { permission_policy: { type: 'always_ask' } } },
      ]);
      const asking = await turn(client, session.id, shell('echo ran'), say('after'));
      const call = asking.find((event) => event.type === 'agent.tool_use')!;
      assert.deepEqual(asking.findLast((event) => event.type === 'session.status_idle')!['stop_reason'], { type: 'requires_action', event_ids: [call.id] });
      const stream = await client.beta.sessions.events.stream(session.id);
      await client.beta.sessions.events.send(session.id, {
        events: [{ type: 'user.tool_confirmation', tool_use_id: call.id, result }],
      });
      const after = await until(stream, idleTimes(1));
      const output = after.find((event) => event.type === 'agent.tool_result')!;
      assert.equal(Boolean(output['is_error']), result === 'deny');
    });
  }

  test('a custom tool goes to the client and back', async () => {
    const client = connect();
    const { session } = await newSession(client, [
      {
        type: 'custom',
        name: 'get_weather',
        description: 'The weather in a city',
        input_schema: { type: 'object', properties: { city: { type: 'string' } } },
      },
    ]);
    const asking = await turn(client, session.id, custom('get_weather', { city: 'Oslo' }), say('cold'));
    const call = asking.find((event) => event.type === 'agent.custom_tool_use')!;
    assert.deepEqual(call['input'], { city: 'Oslo' });
    const stream = await client.beta.sessions.events.stream(session.id);
    await client.beta.sessions.events.send(session.id, {
      events: [{ type: 'user.custom_tool_result', custom_tool_use_id: call.id, content: [{ type: 'text', text: '-3' }] }],
    });
    assert.deepEqual(texts(await until(stream, idleTimes(1))), ['cold']);
  });

  test('an interrupt ends the turn and the session goes on', async () => {
    const client = connect();
    const { session } = await newSession(client);
    const stream = await client.beta.sessions.events.stream(session.id);
    await client.beta.sessions.events.send(session.id, { events: [message(shell('sleep 60'), say('never'))] });
    let interrupted = false;
    const events = await until(stream, (events) => {
      if (!interrupted && events.at(-1)?.type === 'agent.tool_use') {
        interrupted = true;
        void client.beta.sessions.events.send(session.id, { events: [{ type: 'user.interrupt' }] });
      }
      return idleTimes(1)(events);
    });
    assert.deepEqual(events.at(-1)!['stop_reason'], { type: 'end_turn' });
    assert.deepEqual(texts(events), []);
    assert.deepEqual(texts(await turn(client, session.id, say('again'))), ['again']);
  });

  test('results of an ephemeral session are its files', async () => {
    const client = connect();
    const hosted: any = { name: 'e', config: { type: 'cloud', hosting: { pattern: 'ephemeral' } } };
    const environment = await client.beta.environments.create(hosted);
    const { agent } = await newSession(client);
    const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
    const stream = await client.beta.sessions.events.stream(session.id);
    const make = shell('echo -n result > /mnt/session/outputs/r.txt');
    await client.beta.sessions.events.send(session.id, { events: [message(make, say('done'))] });
    await until(stream, (events) => events.at(-1)?.type === 'session.status_terminated');
    const [file, ...more] = await all(client.beta.files.list({ scope_id: session.id }));
    assert.deepEqual([file!.filename, file!.scope?.id, more], ['r.txt', session.id, []]);
    assert.equal(await (await client.beta.files.download(file!.id)).text(), 'result');
    assert.equal((await client.beta.files.delete(file!.id)).type, 'file_deleted');
  });

  test('a fork goes on from its point and apart', async () => {
    const client = connect();
    const { session } = await newSession(client);
    const first = await turn(client, session.id, say('first'));
    await turn(client, session.id, say('second'));
    const body = { event_id: first.at(-1)!.id };
    const fork = await client.post<typeof session>(`/v1/sessions/${session.id}/fork`, { body });
    assert.deepEqual(texts(await turn(client, fork.id, say('mine'))), ['mine']);
    const said = async (id: string) => texts(await all(client.beta.sessions.events.list(id)));
    assert.deepEqual(await said(fork.id), ['first', 'mine']);
    assert.deepEqual(await said(session.id), ['first', 'second']);
  });

  test('two clients see the same events', async () => {
    const [one, other] = [connect(), connect()];
    const { session } = await newSession(one);
    const streams = await Promise.all([one, other].map((client) => client.beta.sessions.events.stream(session.id)));
    await other.beta.sessions.events.send(session.id, { events: [message(say('both'))] });
    const [first, second] = await Promise.all(streams.map((stream) => until(stream, idleTimes(1))));
    assert.deepEqual(first, second);
  });
}
