/** One server for the whole run; every test makes its own agents and sessions. */
import { after, before, describe } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { records } from './records.js';
import { Server } from './server.js';
import { sessions } from './sessions.js';
import { sessionStore } from './store.js';

const server = new Server();
const connect = (options: object = {}): Anthropic =>
  new Anthropic({ baseURL: server.baseURL, apiKey: server.apiKey, maxRetries: 0, timeout: 60_000, ...options });

describe('the official TypeScript client and Agent SDK', { timeout: 300_000 }, () => {
  before(() => server.start());
  after(() => server.stop());
  records(connect);
  sessions(connect);
  sessionStore(server);
});
