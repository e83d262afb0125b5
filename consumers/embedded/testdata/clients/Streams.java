import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KeyValueMapper;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.Stores;

/** Counts the records of a topic by their values, exactly once: a state with its changelog, and a repartition topic. */
public class Streams {
    public static void main(String[] args) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("application.id", "streams");
        config.put("processing.guarantee", "exactly_once_v2");
        config.put("commit.interval.ms", "100");
        config.put("state.dir", args[3]);
        config.put("replication.factor", "-1");
        StreamsBuilder builder = new StreamsBuilder();
        KeyValueMapper<String, String, String> byValue = (key, value) -> value;
        builder.stream(args[1], Consumed.with(Serdes.String(), Serdes.String()))
            .filter((key, value) -> value != null)
            .groupBy(byValue, org.apache.kafka.streams.kstream.Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore("counts")).withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream().mapValues(String::valueOf)
            .to(args[2], Produced.with(Serdes.String(), Serdes.String()));
        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        CountDownLatch failed = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            failed.countDown();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        Thread stop = new Thread(() -> { // standard input ends when the test has seen all counts
            try {
                while (System.in.read() >= 0) { }
            } catch (java.io.IOException e) {
                e.printStackTrace();
            }
            failed.countDown();
        });
        stop.setDaemon(true);
        stop.start();
        if (!failed.await(60, TimeUnit.SECONDS)) {
            System.err.println("not stopped within a minute");
        }
        streams.close(Duration.ofSeconds(10));
    }
}
