// java.net.http.WebSocket of the JDK as the client of our server.
//
//     java Client.java OBEY ECHO
//
// OBEY is the program of steps/obey.c, ECHO the example echo_server.
// Prints one line for each case that fails, and last how many did.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class Client {
    static final int PATIENCE = 30; // seconds, for what hangs
    static final int[] SIZES = {0, 1, 125, 126, 65535, 65536, 1 << 20};
    // This client may not send 1002, 1003, 1006, 1007, 1009, 1010, 1012,
    // 1013 and 1015.
    static final int[] SENT = {1000, 1001, 1008, 1011, 3000, 3999, 4000,
        4999};
    // It refuses 1010, which is only for clients to send.
    static final int[] CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009,
        1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};

    static final HttpClient http = HttpClient.newHttpClient();
    static String obey, echo;
    static int passed, failed;

    interface Case { void run() throws Exception; }

    record News(String what, Object data, int code) { }

    static void must(boolean good, Object expected, Object observed) {
        if (!good) {
            throw new IllegalStateException("expected " + brief(expected)
                + "; observed " + brief(observed));
        }
    }

    static String brief(Object o) {
        String s = o instanceof byte[] b
            ? b.length + " bytes" : String.valueOf(o);
        return s.length() > 100
            ? s.substring(0, 100) + "... (" + s.length() + ")" : s;
    }

    // One connection, with what came as a queue.
    static class Peer implements WebSocket.Listener {
        final BlockingQueue<News> queue = new LinkedBlockingQueue<>();
        final StringBuilder text = new StringBuilder();
        byte[] bytes = new byte[0];
        int parts; // of the last message
        WebSocket ws;

        Peer(String url, String... protocols) throws Exception {
            WebSocket.Builder builder = http.newWebSocketBuilder();
            if (protocols.length > 0) {
                builder.subprotocols(protocols[0], Arrays.copyOfRange(
                    protocols, 1, protocols.length));
            }
            ws = done(builder.buildAsync(URI.create(url), this));
        }

        static <T> T done(CompletableFuture<T> future) throws Exception {
            return future.get(PATIENCE, TimeUnit.SECONDS);
        }

        public CompletionStage<?> onText(WebSocket w, CharSequence data,
                                         boolean last) {
            text.append(data);
            parts++;
            if (last) {
                queue.add(new News("text", text.toString(), parts));
                text.setLength(0);
                parts = 0;
            }
            w.request(1);
            return null;
        }

        public CompletionStage<?> onBinary(WebSocket w, ByteBuffer data,
                                           boolean last) {
            int at = bytes.length;
            bytes = Arrays.copyOf(bytes, at + data.remaining());
            data.get(bytes, at, data.remaining());
            parts++;
            if (last) {
                queue.add(new News("binary", bytes, parts));
                bytes = new byte[0];
                parts = 0;
            }
            w.request(1);
            return null;
        }

        public CompletionStage<?> onPong(WebSocket w, ByteBuffer data) {
            byte[] copy = new byte[data.remaining()];
            data.get(copy);
            queue.add(new News("pong", copy, 0));
            w.request(1);
            return null;
        }

        public CompletionStage<?> onClose(WebSocket w, int code,
                                          String reason) {
            queue.add(new News("close", reason, code));
            return null; // it answers with the same code
        }

        public void onError(WebSocket w, Throwable error) {
            queue.add(new News("error", error.toString(), 0));
        }

        News next(String what) throws Exception {
            News news = queue.poll(PATIENCE, TimeUnit.SECONDS);
            must(news != null, what, "nothing");
            must(news.what.equals(what), what,
                news.what + " " + brief(news.data) + " " + news.code);
            return news;
        }

        void say(String s) throws Exception { done(ws.sendText(s, true)); }

        void part(String s) throws Exception { done(ws.sendText(s, false)); }

        void send(byte[] data, boolean last) throws Exception {
            done(ws.sendBinary(ByteBuffer.wrap(data), last));
        }

        void ping(byte[] data) throws Exception {
            done(ws.sendPing(ByteBuffer.wrap(data)));
        }

        void expect(String s) throws Exception {
            News news = next("text");
            must(news.data.equals(s), s, news.data);
        }

        void expect(byte[] data) throws Exception {
            News news = next("binary");
            must(Arrays.equals((byte[]) news.data, data), data, news.data);
        }

        void pong(byte[] data) throws Exception {
            News news = next("pong");
            must(Arrays.equals((byte[]) news.data, data), data, news.data);
        }

        void closed(int code, String reason) throws Exception {
            News news = next("close");
            must(news.code == code && (reason == null
                || reason.equals(news.data)), code + " " + reason,
                news.code + " " + news.data);
        }

        void bye() throws Exception {
            done(ws.sendClose(1000, "done"));
            closed(1000, null);
        }
    }

    static byte[] binary(int size) {
        byte[] data = new byte[size];
        new Random(size).nextBytes(data);
        return data;
    }

    // UTF-8 of exactly so many bytes, with characters of every length.
    static String text(int size) {
        String unit = "a\u00e9\u20ac\ud83d\ude00z~\u00fc\u6f22";
        int n = unit.getBytes(StandardCharsets.UTF_8).length;
        return unit.repeat(size / n) + ".".repeat(size % n);
    }

    static void run(String name, Case call) {
        try {
            call.run();
            passed++;
        } catch (Throwable e) {
            failed++;
            System.out.println("FAIL java.net.http: " + name + ": " + e);
        }
    }

    // ------------------------------------------------------------ messages

    static void sizes(String url) throws Exception {
        Peer p = new Peer(url);
        for (int size : SIZES) {
            p.say(text(size));
            p.expect(text(size));
            p.send(binary(size), true);
            p.expect(binary(size));
        }
        p.bye();
    }

    static void fragments(int part) throws Exception {
        Peer p = new Peer(echo);
        String whole = text(9000 + part);
        int at = 0;
        for (; at + part < whole.length(); at += part) {
            // A surrogate pair is not to be torn.
            if (Character.isHighSurrogate(whole.charAt(at + part - 1))) {
                p.part(whole.substring(at, at + part + 1));
                at++;
            } else {
                p.part(whole.substring(at, at + part));
            }
        }
        p.say(whole.substring(at));
        p.expect(whole);
        byte[] bytes = binary(9000 + part);
        for (at = 0; at + part < bytes.length; at += part) {
            p.send(Arrays.copyOfRange(bytes, at, at + part), false);
        }
        p.send(Arrays.copyOfRange(bytes, at, bytes.length), true);
        p.expect(bytes);
        p.bye();
    }

    static void between() throws Exception {
        Peer p = new Peer(echo);
        p.part("");
        p.part("one");
        p.ping("between".getBytes());
        p.pong("between".getBytes());
        p.part("two");
        Peer.done(p.ws.sendPong(ByteBuffer.wrap("unasked".getBytes())));
        p.say("");
        p.expect("onetwo");
        p.bye();
    }

    static void split(int part) throws Exception {
        Peer p = new Peer(obey);
        p.say("/split " + part);
        p.send(binary(9000), true);
        News news = p.next("binary");
        must(Arrays.equals((byte[]) news.data, binary(9000)), "the same",
            news.data);
        must(news.code >= (9000 + part - 1) / part, "many parts", news.code);
        p.say(text(9000));
        p.expect(text(9000));
        p.bye();
    }

    static void pings() throws Exception {
        Peer p = new Peer(echo);
        for (int size : new int[] {0, 1, 124, 125}) {
            p.ping(binary(size));
            p.pong(binary(size));
        }
        p.say("after");
        p.expect("after");
        p.bye();
    }

    static void pinged() throws Exception {
        Peer p = new Peer(obey);
        for (String s : List.of("x", "hello", "x".repeat(125))) {
            p.say("/ping " + s);
            p.expect("pong " + s);
        }
        p.bye();
    }

    static void many() throws Exception {
        Peer p = new Peer(echo);
        CompletableFuture<?> last = CompletableFuture.completedFuture(null);
        for (int i = 0; i < 40; i++) {
            byte[] data = binary(100000 + i);
            last = last.thenCompose(x -> p.ws.sendBinary(
                ByteBuffer.wrap(data), true));
        }
        for (int i = 0; i < 40; i++) {
            p.expect(binary(100000 + i));
        }
        p.bye();
    }

    static void sideBySide() throws Exception {
        List<Peer> peers = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            peers.add(new Peer(echo));
        }
        for (int turn = 0; turn < 5; turn++) {
            for (int i = 0; i < 50; i++) {
                peers.get(i).say(turn + " " + i);
                peers.get(i).send(binary(i * 500 + turn), true);
            }
            for (int i = 0; i < 50; i++) {
                peers.get(i).expect(turn + " " + i);
                peers.get(i).expect(binary(i * 500 + turn));
            }
        }
        for (Peer p : peers) {
            p.bye();
        }
    }

    // ---------------------------------------------------------------- ends

    // The server has seen this close.
    static void seen(int code, String reason) throws Exception {
        Peer p = new Peer(obey);
        String answer;
        do {
            p.say("/seen " + code + " " + reason);
            answer = (String) p.next("text").data;
            must(answer.equals("yes") || answer.equals("no"), "yes or no",
                answer);
        } while (answer.equals("no"));
        p.bye();
    }

    static void close(int code, String reason) throws Exception {
        Peer p = new Peer(obey);
        p.say("hello");
        p.expect("hello");
        Peer.done(p.ws.sendClose(code, reason));
        p.closed(code, null);
        seen(code, reason);
    }

    // The answer to the server's Close has the same code.
    static void closed(int code, String reason) throws Exception {
        Peer p = new Peer(obey);
        p.say("/close " + code + " " + reason);
        p.closed(code, reason);
    }

    static void closedWithoutCode() throws Exception {
        Peer p = new Peer(obey);
        p.say("/close");
        p.closed(1005, "");
    }

    static void closeBehindMessage() throws Exception {
        Peer p = new Peer(echo);
        p.send(binary(100000), true);
        Peer.done(p.ws.sendClose(1000, ""));
        p.expect(binary(100000));
        p.closed(1000, null);
    }

    static void abort() throws Exception {
        Peer p = new Peer(obey);
        p.send(binary(1 << 20), true);
        p.ws.abort();
        seen(1006, "");
    }

    static void aborted() throws Exception {
        Peer p = new Peer(obey);
        p.say("/abort");
        News news = p.queue.poll(PATIENCE, TimeUnit.SECONDS);
        must(news != null && (news.what.equals("error")
            || news.code == 1006), "an error or 1006", news);
    }

    static void tooBig() throws Exception {
        Peer p = new Peer(echo);
        p.ws.sendBinary(ByteBuffer.allocate((16 << 20) + 1), true);
        p.closed(1009, null);
    }

    static void protocol(String wanted, String... offered)
        throws Exception {
        Peer p = new Peer(obey, offered);
        must(p.ws.getSubprotocol().equals(wanted), wanted,
            p.ws.getSubprotocol());
        p.bye();
    }

    static void request() throws Exception {
        Peer p = new Peer(obey + "a%20path?a=b");
        p.say("/request");
        p.expect("/a%20path a=b -");
        p.bye();
    }

    // ------------------------------------------------------------- servers

    static Process start(String... command) throws Exception {
        return new ProcessBuilder(command)
            .redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }

    static String url(Process server) throws Exception {
        String line = server.inputReader().readLine();
        must(line != null && line.contains("ws://"), "an address", line);
        return line.substring(line.indexOf("ws://"));
    }

    // Told to end, it ends well and has said nothing but its address.
    static void end(Process server) throws Exception {
        server.destroy();
        boolean ended = server.waitFor(PATIENCE, TimeUnit.SECONDS);
        must(ended && server.exitValue() == 0, "exit status 0",
            ended ? server.exitValue() : "no end");
    }

    public static void main(String[] arguments) throws Exception {
        Process one = start(arguments[0]);
        Process two = start(arguments[1], "--port", "0");
        try {
            obey = url(one);
            echo = url(two);
            all();
            run("the end of the servers", () -> {
                end(one);
                end(two);
            });
        } finally {
            one.destroyForcibly();
            two.destroyForcibly();
        }
        System.out.println("java.net.http.WebSocket: " + passed + " passed, "
            + failed + " failed, 0 skipped");
        System.exit(failed == 0 && passed > 0 ? 0 : 1);
    }

    static void all() {
        run("every size", () -> sizes(echo));
        run("every size, requests", () -> sizes(obey));
        for (int part : new int[] {1, 100, 1000, 8192}) {
            run("fragments of " + part, () -> fragments(part));
            run("echoes in fragments of " + part, () -> split(part));
        }
        run("a ping between fragments", Client::between);
        run("pings", Client::pings);
        run("pings from the server", Client::pinged);
        run("messages that are not waited for", Client::many);
        run("50 connections side by side", Client::sideBySide);
        for (int code : SENT) {
            run("close " + code, () -> close(code, "because, \u00e9"));
        }
        run("a reason of 123 bytes", () -> close(4001, "x".repeat(123)));
        run("close without a reason", () -> close(4002, ""));
        for (int code : CODES) {
            run("closed with " + code, () -> closed(code, "because, \u00e9"));
        }
        run("closed with a reason of 123 bytes",
            () -> closed(4000, "x".repeat(123)));
        run("closed without a code", Client::closedWithoutCode);
        run("close behind a message", Client::closeBehindMessage);
        run("abort", Client::abort);
        run("the server drops the connection", Client::aborted);
        run("16 MiB and one byte are 1009", Client::tooBig);
        run("the first subprotocol", () -> protocol("chat", "chat",
            "superchat"));
        run("the one that is spoken", () -> protocol("superchat", "else",
            "superchat"));
        run("no subprotocol", () -> protocol(""));
        run("none of the subprotocols", () -> protocol("", "else"));
        run("the request", Client::request);
    }
}
