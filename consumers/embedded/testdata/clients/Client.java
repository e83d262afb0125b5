import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.stream.StreamSupport;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

import com.fasterxml.jackson.databind.ObjectMapper;

public class Client {
    public static void main(String[] args) throws Exception {
        String bootstrap = args[0], group = args[3], requests = args[4], protocol = args[5];
        consume(bootstrap, List.of(args[1].split(",")), Integer.parseInt(args[2]), group, protocol);
        produce(bootstrap, requests, "default", Map.of());
        for (String codec : List.of("gzip", "snappy", "lz4", "zstd")) {
            produce(bootstrap, requests, codec, Map.of("compression.type", codec));
        }
        administer(bootstrap, group);
    }

    private static void consume(String bootstrap, List<String> topics, int left, String group, String protocol) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "group.id", group, "group.protocol", protocol,
            "isolation.level", "read_committed", "auto.offset.reset", "earliest", "enable.auto.commit", "false");
        ObjectMapper json = new ObjectMapper();
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(topics);
            while (left > 0) {
                var polled = consumer.poll(Duration.ofSeconds(20));
                if (polled.isEmpty()) {
                    throw new IllegalStateException(left + " records are missing");
                }
                for (ConsumerRecord<String, String> r : polled) {
                    Map<String, Object> line = new TreeMap<>(Map.of("topic", r.topic(), "partition", r.partition(), "offset", r.offset()));
                    line.put("key", r.key());
                    line.put("value", r.value());
                    line.put("headers", StreamSupport.stream(r.headers().spliterator(), false)
                        .map(h -> Arrays.asList(h.key(), h.value() == null ? null : new String(h.value(), StandardCharsets.UTF_8))).toList());
                    System.out.println(json.writeValueAsString(line));
                    left--;
                }
            }
            consumer.commitSync();
        }
    }

    private static void produce(String bootstrap, String topic, String run, Map<String, Object> own) throws Exception {
        Map<String, Object> config = new TreeMap<>(own);
        config.put("bootstrap.servers", bootstrap);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 10; i++) {
                byte[] id = (run + "-" + i).getBytes(StandardCharsets.UTF_8);
                producer.send(new ProducerRecord<>(topic, null, run + "-" + i, "{\"x\": " + i + "}", List.of(new RecordHeader("request-id", id)))).get();
            }
        }
    }

    private static void administer(String bootstrap, String group) throws ExecutionException, InterruptedException {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            var made = admin.createTopics(List.of(new NewTopic(group, 2, (short) 1).configs(Map.of("retention.ms", "1000"))));
            made.all().get();
            check(made.config(group).get().get("retention.ms").value().equals("1000"), "configuration of the topic that was made");
            check(made.numPartitions(group).get() == 2, "partitions of the topic that was made");
            check(admin.describeTopics(Set.of(group)).allTopicNames().get().get(group).partitions().get(0).elr().isEmpty(), "eligible leaders");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, group);
            check(admin.describeConfigs(Set.of(resource)).all().get().get(resource).get("retention.ms").value().equals("1000"), "configuration");
            check(admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)), "list of groups");
            admin.describeConsumerGroups(Set.of(group)).all().get();
            check(!admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().isEmpty(), "offsets of the group");
            admin.deleteTopics(Set.of(group)).all().get();
        }
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }
}
