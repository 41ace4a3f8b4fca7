// The first agent, with the official client: `npm install @anthropic-ai/sdk`, then
//   HOSTEL_API_KEY=… node examples/first_agent.mjs
import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic({
  baseURL: process.env.HOSTEL_BASE_URL ?? 'http://127.0.0.1:8700',
  apiKey: process.env.HOSTEL_API_KEY,
});

const agent = await client.beta.agents.create({
  name: 'first',
  model: 'claude-sonnet-5-5',
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({ name: 'first' });
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });

const events = await client.beta.sessions.events.stream(session.id);
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: 'Which programs are in /usr/bin? Name three.' }] }],
});
for await (const event of events) {
  if (event.type === 'agent.tool_use') console.log(`[${event.name}]`, event.input);
  if (event.type === 'agent.message') console.log(event.content.map((block) => block.text).join(''));
  if (event.type === 'session.status_idle') break;
}
