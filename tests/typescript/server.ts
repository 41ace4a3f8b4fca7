/**
 * A real `hostel serve` for the tests: own data directory, any free port, scripted model.
 * It never touches the user's home, and it leaves nothing.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync, cpSync, existsSync, linkSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync,
} from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

// Compiled into node_modules/.build/tests/typescript.
const ROOT = resolve(fileURLToPath(import.meta.url), '../../../../../../..');
const TARGET = process.env['CARGO_TARGET_DIR'] ?? join(ROOT, 'target');
const BINARY = process.env['HOSTEL_BIN'] ?? join(TARGET, 'debug/hostel');
/** The claude CLI is some hundred megabytes: it is installed once and shared with the Python tests. */
const VERSIONS = join(TARGET, 'tests-cli');
const READY_TIMEOUT_MS = 30_000;

export class Server {
  readonly apiKey = `hk-test-${randomBytes(16).toString('hex')}`;
  baseURL = '';
  private readonly home = mkdtempSync(join(tmpdir(), 'hostel-ts-'));
  private readonly log = join(this.home, 'log');
  private child: ChildProcess | undefined;

  async start(): Promise<void> {
    installCli();
    const data = join(this.home, 'data');
    mkdirSync(data);
    linkTree(join(VERSIONS, 'cli'), join(data, 'cli'));
    const log = openSync(this.log, 'a');
    this.child = spawn(BINARY, ['serve', '--data', data, '--listen', '127.0.0.1:0', '--offline'], {
      env: { PATH: process.env['PATH'] ?? '', HOME: this.home, HOSTEL_API_KEY: this.apiKey },
      stdio: ['ignore', 'pipe', log],
    });
    closeSync(log);
    // A run that is cut must not leave its server behind.
    process.once('exit', () => this.child?.kill('SIGTERM'));
    this.baseURL = await this.ready(this.child);
  }

  private async ready(child: ChildProcess): Promise<string> {
    const timer = setTimeout(() => child.kill('SIGKILL'), READY_TIMEOUT_MS);
    try {
      for await (const line of createInterface({ input: child.stdout! })) {
        const match = /hostel is ready on (http:\/\/\S+)/.exec(line);
        if (match) return match[1]!;
      }
    } finally {
      clearTimeout(timer);
    }
    throw new Error(`the server did not get ready:\n${readFileSync(this.log, 'utf8').slice(-4000)}`);
  }

  async stop(): Promise<void> {
    if (this.child && this.child.exitCode === null) {
      this.child.kill('SIGTERM');
      await once(this.child, 'exit');
    }
    const log = readFileSync(this.log, 'utf8');
    rmSync(this.home, { recursive: true, force: true });
    if (this.child?.exitCode !== 0) throw new Error(`the server ended with ${this.child?.exitCode}:\n${log.slice(-4000)}`);
  }
}

/** The claude CLI that the servers have, for programs that start one themselves. */
export function claude(): string {
  const installed = join(VERSIONS, 'cli');
  const version = readdirSync(installed).find((name) => existsSync(join(installed, name, 'claude')));
  return join(installed, version!, 'claude');
}

/** The scripted model by itself. */
export async function startModel(): Promise<{ url: string; stop: () => void }> {
  const child = spawn(BINARY, ['model', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => child.kill('SIGTERM'));
  for await (const line of createInterface({ input: child.stdout })) {
    const match = /http:\/\/\S+/.exec(line);
    if (match) return { url: match[0], stop: () => child.kill('SIGTERM') };
  }
  throw new Error('the scripted model did not start');
}

function installCli(): void {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: run \`cargo build --package cli\` or \`make test\``);
  mkdirSync(VERSIONS, { recursive: true });
  const listed = execFileSync(BINARY, ['cli', 'list', '--json', '--data', VERSIONS], { encoding: 'utf8' });
  if (!listed.trim()) execFileSync(BINARY, ['cli', 'install', '--data', VERSIONS], { stdio: 'inherit' });
}

/** A copy whose files are hard links where the file systems allow it. */
function linkTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) {
      linkTree(source, target);
    } else if (entry.isFile() && statSync(from).dev === statSync(to).dev) {
      linkSync(source, target);
    } else {
      cpSync(source, target, { verbatimSymlinks: true });
    }
  }
}
