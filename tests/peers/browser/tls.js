// Chromium over wss:// and https://, against examples/echo_server.c and
// examples/chat.c.
//
//     node tls.js ECHO CHAT PKI HOME
//
// ECHO and CHAT are the programs, PKI the folder of certificates.py, HOME one
// whose NSS database has its authority.  CHROMIUM names the browser.
'use strict';
const { spawn } = require('child_process');
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');
const { Report, within, fail } = require('../node/common.js');
const { chromium } = require(path.join(__dirname, '..', '..', '.work',
  'browser', 'node_modules', 'playwright-core'));

const [echo, chat, pki, home] = process.argv.slice(2);
const report = new Report('browser over TLS');
const same = (what, observed, expected) => {
  const [a, b] = [expected, observed].map((v) => JSON.stringify(v));
  if (a !== b) fail(`${what} ${a}`, b);
};

// ------------------------------------------------------------ the servers

const children = new Set();
process.on('exit', () => { for (const c of children) c.kill('SIGKILL'); });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

class Server {
  constructor(program, certificate, ...options) {
    this.child = spawn(program, ['--port', '0',
      '--cert', path.join(pki, `${certificate}.pem`),
      '--key', path.join(pki, `${certificate}.key`), ...options]);
    children.add(this.child);
    this.output = '';
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on('data', (data) => { this.output += data; });
    }
    this.ended = new Promise((done) => {
      this.child.on('close', (status, signal) => {
        children.delete(this.child);
        done(status ?? signal);
      });
    });
    this.port = within(new Promise((done) => {
      this.child.stdout.on('data', () => {
        const url = /s:\/\/127\.0\.0\.1:(\d+)\/.*\n/.exec(this.output);
        if (url) done(Number(url[1]));
      });
    }), 'an address on standard output');
  }

  async end() {
    this.child.kill('SIGTERM');
    same('exit status', await within(this.ended, 'an end'), 0);
  }
}

// In front of a server: what the two say of TLS before it is secret.
class Relay {
  constructor(port) {
    this.seen = [];
    this.server = net.createServer((client) => {
      const one = { client: [], server: [] };
      const server = net.connect(port, '127.0.0.1');
      this.seen.push(one);
      client.on('data', (data) => one.client.push(data));
      server.on('data', (data) => one.server.push(data));
      client.pipe(server).pipe(client);
      for (const socket of [client, server]) socket.on('error', () => {});
    });
    this.port = new Promise((done) => {
      this.server.listen(0, '127.0.0.1',
        () => done(this.server.address().port));
    });
  }

  // The handshake messages of one side, up to its ChangeCipherSpec:
  // [type, content] (RFC 5246 6.2.1, 7.4).
  static messages(chunks) {
    const all = Buffer.concat(chunks);
    const parts = [];
    for (let at = 0; at + 5 <= all.length && all[at] === 22;) {
      const end = at + 5 + all.readUInt16BE(at + 3);
      parts.push(all.subarray(at + 5, end));
      at = end;
    }
    const flight = Buffer.concat(parts);
    const list = [];
    for (let at = 0; at + 4 <= flight.length;) {
      const end = at + 4 + flight.readUIntBE(at + 1, 3);
      list.push([flight[at], flight.subarray(at + 4, end)]);
      at = end;
    }
    return list;
  }

  // Of each connection: was TLS 1.3 offered, 1.2 taken, a certificate sent?
  handshakes() {
    return this.seen.map((one) => {
      const [[, hello]] = Relay.messages(one.client);
      const answer = Relay.messages(one.server);
      let at = 35 + hello[34];
      at += 2 + hello.readUInt16BE(at);
      at += 1 + hello[at];
      let offered = false;
      for (at += 2; at + 4 <= hello.length;) {
        const end = at + 4 + hello.readUInt16BE(at + 2);
        if (hello.readUInt16BE(at) === 43) { // supported_versions
          for (let i = at + 5; i + 2 <= end; i += 2) {
            offered ||= hello.readUInt16BE(i) === 0x0304;
          }
        }
        at = end;
      }
      return { offered, version: answer[0][1].readUInt16BE(0),
        types: answer.map(([type]) => type) };
    });
  }
}

// -------------------------------------------------------------- in a page

const inside = (page, call, argument) => within(
  page.evaluate(call, argument), 'an answer of the page');

const attempt = (page, url) => inside(page, (url) => new Promise((done) => {
  const socket = new WebSocket(url);
  socket.onopen = () => { socket.close(1000); done('open'); };
  socket.onerror = () => done('error');
}), url);

// Sends all of one kind and size; what came back otherwise.
const echoes = (page, url) => inside(page, async (url) => {
  const socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  const wrong = [];
  const next = (name) => new Promise((done, failed) => {
    socket[`on${name}`] = done;
    socket.onclose = (e) => failed(new Error(`closed with ${e.code}`));
  });
  await next('open');
  for (const size of [0, 1, 125, 126, 65535, 65536, 3000000]) {
    const text = 'a\u{1F600}\u6f22\u00e9'.repeat(size / 5 + 1)
      .slice(0, size).replace(/[\ud800-\udbff]$/, '.');
    const bytes = new Uint8Array(size).map((_, i) => i * 7 + (i >> 8));
    socket.send(text);
    let back = (await next('message')).data;
    if (back !== text) wrong.push(`text of ${size}`);
    socket.send(bytes);
    back = new Uint8Array((await next('message')).data);
    if (back.length !== size || back.some((b, i) => b !== bytes[i])) {
      wrong.push(`binary of ${size}`);
    }
  }
  socket.onclose = null;
  socket.close(1000);
  return wrong;
}, url);

// As many at a time, each with a message of its own; how many had it back.
// One after the other, as the browser delays what begins together.
const crowd = (page, url, count) => inside(page, async ([url, count]) => {
  const open = () => new Promise((done) => {
    const socket = new WebSocket(url);
    socket.onopen = socket.onclose = () => done(socket);
  });
  const all = [];
  while (all.length < count) all.push(await open());
  const right = await Promise.all(all.map((socket, i) => new Promise(
    (done) => {
      socket.onmessage = (e) => done(e.data === `number ${i}`);
      socket.onclose = () => done(false);
      socket.send(`number ${i}`);
    })));
  for (const socket of all) socket.close();
  return right.filter((good) => good).length;
}, [url, count]);

// The end of a connection that closes as it is told, or is closed.
const ending = (page, url, how) => inside(page, ([url, how]) =>
  new Promise((done) => {
    const socket = new WebSocket(url);
    socket.onopen = () => {
      if (how.send) socket.send('x'.repeat(how.send));
      else if (how.close) socket.close(...how.close);
      else document.title = 'open';
    };
    socket.onclose = (e) => done([e.code, e.wasClean]);
  }), [url, how]);

// ------------------------------------------------------------------ cases

async function echoCases(page, port) {
  const url = `wss://localhost:${port}/`;
  await report.run('text and binary of any size', async () => {
    same('wrong', await echoes(page, url), []);
  });
  await report.run('many connections at a time', async () => {
    same('echoes', await crowd(page, url, 100), 100);
  });
  await report.run('closed by the page', async () => {
    for (const [close, code] of [[[], 1005], [[1000], 1000],
      [[3000, 'because'], 3000], [[4999, 'x'.repeat(123)], 4999]]) {
      same('code', await ending(page, url, { close }), [code, true]);
    }
  });
  await report.run('by address', async () => {
    same('outcome', await attempt(page, `wss://127.0.0.1:${port}/`), 'open');
  });
}

async function serverEnds(page) {
  for (const [name, signal, end] of [['in order', 'SIGTERM', [1001, true]],
    ['at once', 'SIGKILL', [1006, false]]]) {
    await report.run(`the server ends ${name}`, async () => {
      const server = new Server(echo, 'p256');
      const url = `wss://localhost:${await server.port}/`;
      await page.evaluate(() => { document.title = ''; });
      const ended = ending(page, url, {});
      await page.waitForFunction(() => document.title === 'open');
      server.child.kill(signal);
      same('close', await within(ended, 'a close'), end);
      await server.ended;
    });
  }
  await report.run('the server refuses a message', async () => {
    const server = new Server(echo, 'p384', '--max-message', '1000');
    const url = `wss://localhost:${await server.port}/`;
    same('close', await ending(page, url, { send: 1001 }), [1009, true]);
    await server.end();
  });
}

async function resumption(page, port) {
  const relay = new Relay(port);
  const url = `wss://localhost:${await relay.port}/`;
  same('outcome', await attempt(page, url), 'open');
  same('outcome', await attempt(page, url), 'open');
  const [first, second] = relay.handshakes();
  relay.server.close();
  same('1.3 is offered', [first.offered, second.offered], [true, true]);
  same('1.2 is taken', [first.version, second.version], [0x0303, 0x0303]);
  same('a whole handshake', first.types, [2, 11, 12, 14]);
  same('a session that is resumed', second.types, [2]);
}

async function chatPage(context) {
  const server = new Server(chat, 'chain');
  const page = await context.newPage();
  const answer = await page.goto(`https://localhost:${await server.port}/`);
  const security = await answer.securityDetails();
  same('TLS', [answer.status(), security.protocol, security.issuer],
    [200, 'TLS 1.2', 'Lower']);
  const say = async (text) => {
    await page.locator('#box').fill(text);
    await page.locator('#box').press('Enter');
  };
  const row = (text) => page.locator('li:last-child', { hasText: text })
    .waitFor({ timeout: 10000 });
  await say('Ada');
  await row(/^Ada#\d+ joined$/);
  await say('hello');
  await row(/hello$/);
  await page.close();
  await server.end();
}

// What the browser says of a page with this certificate; a WebSocket there
// is to fail too.
async function refusals(page, context) {
  for (const [name, text] of [['unknown_root', 'AUTHORITY_INVALID'],
    ['wrong_name', 'COMMON_NAME_INVALID'], ['expired', 'DATE_INVALID']]) {
    await report.run(`refused: ${name}`, async () => {
      const server = new Server(echo, name);
      await refused(page, context, await server.port, text);
      await server.end();
    });
  }
}

async function refused(page, context, port, text) {
  same('outcome', await attempt(page, `wss://localhost:${port}/`), 'error');
  const other = await context.newPage();
  const said = await other.goto(`https://localhost:${port}/`)
    .then(() => 'nothing', (error) => error.message);
  await other.close();
  if (!said.includes(`net::ERR_CERT_${text}`)) fail(text, said);
}

// ------------------------------------------------------------------- main

const launch = (home) => chromium.launch({ headless: true,
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  env: { ...process.env, HOME: home },
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update',
    '--disable-sync'] });

async function main() {
  const browsers = [];
  const empty = fs.mkdtempSync(path.join(os.tmpdir(), 'wsock-'));
  try {
    const server = new Server(echo, 'rsa');
    const port = await server.port;
    for (const of of [home, empty]) browsers.push(await launch(of));
    const [context, stranger] = await Promise.all(browsers.map(
      (browser) => browser.newContext()));
    const page = await context.newPage();
    // A page of the server's, whatever it says.
    same('status of a page', (await page.goto(
      `https://localhost:${port}/`)).status(), 426);
    await echoCases(page, port);
    await report.run('a session is resumed', () => resumption(page, port));
    await serverEnds(page);
    await report.run('the chat and its page', () => chatPage(context));
    await refusals(page, context);
    await report.run('refused where the authority is not known', async () =>
      refused(await stranger.newPage(), stranger, port,
        'AUTHORITY_INVALID'));
    await report.run('the server ends well', () => server.end());
  } catch (error) {
    await report.run('the browser', () => { throw error; });
  } finally {
    await Promise.all(browsers.map((browser) => browser.close()));
    fs.rmSync(empty, { recursive: true, force: true });
  }
  report.end();
}

main();
