/** Driving a session through the official client, and words for the scripted model. */
import Anthropic from '@anthropic-ai/sdk';

export const MODEL = 'claude-sonnet-5';

/** A string that begins with `@` tells the scripted model what to do: one answer per line. */
export const say = (text: string): string => `@say ${text}`;
export const tool = (name: string, input: object): string => `@tool ${name} ${JSON.stringify(input)}`;
/** A custom tool, by the name under which claude offers it to the model. */
export const custom = (name: string, input: object): string => tool(`mcp__custom__${name}`, input);
export const shell = (command: string): string => tool('Bash', { command, description: 'test' });

export function message(...lines: string[]) {
  return { type: 'user.message' as const, content: [{ type: 'text' as const, text: lines.join('\n') }] };
}

/** An event as loosely as a test needs it. */
export type Event = { type: string; id: string } & Record<string, any>;

/** Reads a stream that was opened before, until `done` says yes to all events so far. */
export async function until(stream: AsyncIterable<unknown>, done: (events: Event[]) => boolean): Promise<Event[]> {
  const events: Event[] = [];
  for await (const event of stream) {
    events.push(event as Event);
    if (done(events)) return events;
  }
  throw new Error(`the stream ended after ${events.map((event) => event.type).join(', ')}`);
}

/** Opens the stream, sends, and gives the events up to the session's next idle. */
export async function turn(client: Anthropic, session: string, ...lines: string[]): Promise<Event[]> {
  const stream = await client.beta.sessions.events.stream(session);
  await client.beta.sessions.events.send(session, { events: [message(...lines)] });
  return until(stream, (events) => events.at(-1)?.type === 'session.status_idle');
}

export const texts = (events: Event[]): string[] =>
  events.filter((event) => event.type === 'agent.message').flatMap((event) => event['content'].map((block: any) => block.text));

export async function newSession(client: Anthropic, tools: any[] = [{ type: 'agent_toolset_20260401' }]) {
  const agent = await client.beta.agents.create({ name: 'tester', model: MODEL, tools });
  const environment = await client.beta.environments.create({ name: 'test' });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
  return { agent, environment, session };
}

export async function all<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of pages) items.push(item);
  return items;
}
