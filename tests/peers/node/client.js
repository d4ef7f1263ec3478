// The npm package `ws` as the client of an echo server.
//
//     node client.js ws://HOST:PORT/
//
// Prints one line for each case that fails, and last how many did.
'use strict';
const common = require('./common.js');
const { WebSocket } = common.load();

const url = process.argv[2];
const report = new common.Report('node ws as the client');

async function open(options, protocols = []) {
  const ws = new WebSocket(url, protocols, {
    perMessageDeflate: false, maxPayload: 32 << 20, ...options,
  });
  const peer = new common.Peer(ws);
  await peer.expect('open');
  return peer;
}

async function main() {
  for (const { name, run } of common.sessions()) {
    await report.run(name, async () => {
      const peer = await open();
      try {
        await run(peer);
      } finally {
        peer.ws.terminate();
      }
    });
  }

  await report.run('200 connections side by side', async () => {
    const peers = await Promise.all(Array.from({ length: 200 }, () => open()));
    await Promise.all(peers.map(async (peer, i) => {
      for (let round = 0; round < 5; round++) {
        await peer.echo(`${i} ${round}`);
        await peer.echo(common.binary(i * 50 + round));
      }
      peer.ws.close(1000);
      await peer.closed(1000);
    }));
  });

  await report.run('permessage-deflate is offered, not accepted', async () => {
    const peer = await open({ perMessageDeflate: true });
    if (peer.ws.extensions !== '') {
      common.fail('no extension', peer.ws.extensions);
    }
    await peer.echo('not compressed '.repeat(1000));
    await peer.echo(common.binary(100000));
    peer.ws.close(1000);
    await peer.closed(1000);
  });

  await report.run('subprotocols are offered, none is taken', async () => {
    const ws = new WebSocket(url, ['chat', 'superchat']);
    const peer = new common.Peer(ws);
    // This client takes it as a failure when none is chosen.
    const [error] = await peer.expect('error');
    if (!/no subprotocol/i.test(error.message)) {
      common.fail('no subprotocol', error.message);
    }
  });

  await report.run('headers, origin and a long path', async () => {
    const ws = new WebSocket(`${url}${'x'.repeat(1000)}?a=b`, {
      origin: 'http://example.com', headers: { 'X-Header': 'y'.repeat(1000) },
    });
    const peer = new common.Peer(ws);
    await peer.expect('open');
    await peer.echo('hello');
    ws.close(1000);
    await peer.closed(1000);
  });

  await report.run('16 MiB are echoed, one byte more is 1009', async () => {
    const peer = await open();
    await peer.echo(Buffer.alloc(16 << 20, 'x'));
    peer.ws.send(Buffer.alloc((16 << 20) + 1, 'x'));
    await peer.closed(1009);
  });

  await report.run('text that is not UTF-8 is 1007', async () => {
    const peer = await open();
    peer.ws.send(Buffer.from([0xff, 0xfe]), { binary: false });
    await peer.closed(1007);
  });

  await report.run('connections that are cut off harm nobody', async () => {
    const cut = await Promise.all(Array.from({ length: 50 }, () => open()));
    for (const peer of cut) {
      peer.ws.send(common.binary(50000));
      peer.ws.terminate();
    }
    const peer = await open();
    await peer.echo('still there');
    peer.ws.close(1000);
    await peer.closed(1000);
  });

  report.end();
}

main();
