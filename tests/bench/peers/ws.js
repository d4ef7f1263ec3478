// ws.js - an echo server, or with "fanout" a broadcast, by npm's ws (with
// bufferutil, its companion in C, where that is installed).
'use strict';
const { WebSocketServer } = require('ws');

const fanout = process.argv[2] === 'fanout';
const server = new WebSocketServer({
    host: '127.0.0.1', port: 0, backlog: 1024,
    perMessageDeflate: false, maxPayload: 0,
});
server.on('listening', () =>
    console.log(`ws://127.0.0.1:${server.address().port}/`));
server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', (data, binary) => {
        if (!fanout) return socket.send(data, { binary });
        for (const each of server.clients) each.send(data, { binary });
    });
});
