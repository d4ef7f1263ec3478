// The npm package `ws` as the server of an echo client.
//
//     node server.js PROGRAM [ARGUMENT...]
//
// For each case the program is started with the server's URL; it must echo
// every message and exit with status 0 once the server has closed.
// Prints one line for each case that fails, and last how many did.
'use strict';
const { spawn } = require('child_process');
const common = require('./common.js');
const { WebSocketServer } = common.load();

const command = process.argv.slice(2);
const report = new common.Report('node ws as the server');

function start(url) {
  const child = spawn(command[0], [...command.slice(1), url],
    { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (data) => { errors += data; });
  const exit = new Promise((done) => {
    child.on('close', (code, signal) => done({ code, signal, errors }));
  });
  return { child, exit };
}

async function ended(run, status, pattern) {
  const got = await common.within(run.exit, 'an exit');
  if (got.code !== status || (status === 0 && got.errors)
      || (pattern && !pattern.test(got.errors))) {
    common.fail(`exit status ${status} ${pattern || ''}`,
      `${got.code} ${got.signal || ''} ${got.errors}`);
  }
}

async function withServer(options, call) {
  const server = new WebSocketServer({
    host: '127.0.0.1', port: 0, perMessageDeflate: false,
    maxPayload: 32 << 20, ...options,
  });
  const peers = [];
  let waiting = () => {};
  server.on('connection', (ws, request) => {
    const peer = new common.Peer(ws);
    peer.request = request;
    peers.push(peer);
    waiting();
  });
  await new Promise((done) => server.on('listening', done));
  const url = `ws://127.0.0.1:${server.address().port}/path?query`;
  const accept = async () => {
    while (!peers.length) {
      await common.within(new Promise((done) => { waiting = done; }),
        'a connection');
    }
    return peers.shift();
  };
  const runs = [];
  try {
    await call(accept, () => {
      runs.push(start(url));
      return runs[runs.length - 1];
    });
  } finally {
    for (const run of runs) run.child.kill('SIGKILL');
    for (const ws of server.clients) ws.terminate();
    server.close();
  }
}

async function main() {
  for (const { name, run } of common.sessions()) {
    await report.run(name, () => withServer({}, async (accept, launch) => {
      const client = launch();
      const peer = await accept();
      await run(peer);
      await ended(client, 0);
    }));
  }

  await report.run('20 clients side by side', () => withServer({},
    async (accept, launch) => {
      const clients = Array.from({ length: 20 }, () => launch());
      const peers = [];
      for (let i = 0; i < 20; i++) peers.push(await accept());
      await Promise.all(peers.map(async (peer, i) => {
        for (let round = 0; round < 20; round++) {
          await peer.echo(`${i} ${round}`);
          await peer.echo(common.binary(i * 500 + round));
        }
        peer.ws.close(1000);
        await peer.closed(1000);
      }));
      for (const client of clients) await ended(client, 0);
    }));

  await report.run('the request', () => withServer({},
    async (accept, launch) => {
      const client = launch();
      const peer = await accept();
      const { url, headers } = peer.request;
      if (url !== '/path?query') common.fail('/path?query', url);
      for (const name of ['sec-websocket-extensions',
        'sec-websocket-protocol', 'origin']) {
        if (headers[name] !== undefined) {
          common.fail(`no ${name}`, headers[name]);
        }
      }
      peer.ws.close(1000);
      await peer.closed(1000);
      await ended(client, 0);
    }));

  await report.run('a server that can compress', () => withServer(
    { perMessageDeflate: { threshold: 0 } }, async (accept, launch) => {
      const client = launch();
      const peer = await accept();
      await peer.echo('not compressed '.repeat(1000));
      if (peer.ws.extensions !== '') {
        common.fail('no extension', peer.ws.extensions);
      }
      peer.ws.close(1000);
      await peer.closed(1000);
      await ended(client, 0);
    }));

  for (const status of [400, 401, 403, 503]) {
    await report.run(`refused with ${status}`, () => withServer(
      { verifyClient: (info, done) => done(false, status, 'no') },
      async (accept, launch) => {
        await ended(launch(), 1, new RegExp(`${status}`));
      }));
  }

  await report.run('a server that terminates', () => withServer({},
    async (accept, launch) => {
      const client = launch();
      const peer = await accept();
      await peer.echo('hello');
      peer.ws.terminate();
      await ended(client, 1, /./);
    }));

  await report.run('text that is not UTF-8 is 1007', () => withServer({},
    async (accept, launch) => {
      const client = launch();
      const peer = await accept();
      peer.ws.send(Buffer.from([0xff, 0xfe]), { binary: false });
      await peer.closed(1007);
      await ended(client, 1, /./);
    }));

  report.end();
}

main();
