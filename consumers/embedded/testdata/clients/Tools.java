import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;

import org.apache.kafka.common.utils.internals.Exit;

/**
 * Runs Apache Kafka's command line tools one after another in one JVM, which costs a tenth of a JVM
 * for each. Every line of standard input is a name, a class and its arguments, separated by tabs.
 * Behind what a tool prints comes a line "=== name status", where the status is "ended", that of
 * exit, the exception that main threw, or "hangs" after 30 seconds.
 */
public class Tools {
    private static class Ended extends Error {
        Ended() {
            super("ended", null, false, false);
        }
    }

    /** The status of a tool's first exit: some catch what it throws, and exit again. */
    private static volatile String exited;

    private static void exit(int status) {
        if (exited == null) {
            exited = "exit " + status;
        }
        throw new Ended();
    }

    public static void main(String[] args) throws Exception {
        Exit.setExitProcedure((status, message) -> exit(status));
        Exit.setHaltProcedure((status, message) -> exit(status));
        Exit.setShutdownHookAdder((name, hook) -> { });
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t");
            System.setIn(new ByteArrayInputStream("k1\tv1\nk2\tv2\n".getBytes(StandardCharsets.UTF_8)));
            String[] result = {"hangs"};
            exited = null;
            Thread thread = new Thread(() -> result[0] = run(words[1], java.util.Arrays.copyOfRange(words, 2, words.length)));
            thread.setDaemon(true);
            thread.start();
            thread.join(30_000);
            System.err.flush();
            System.out.println("\n=== " + words[0] + " " + (exited != null ? exited : result[0]));
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static String run(String name, String[] args) {
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
            return "ended";
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Ended) {
                return exited;
            }
            e.getCause().printStackTrace();
            return "threw " + e.getCause();
        } catch (ReflectiveOperationException e) {
            return "no such tool: " + e;
        }
    }
}
