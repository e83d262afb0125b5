package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// Admin makes, checks and reads topics. It is safe for concurrent use. Close it.
type Admin struct {
	conn Connection
	cl   *kgo.Client
	adm  *kadm.Client
}

// NewAdmin connects lazily.
func NewAdmin(conn Connection) (*Admin, error) {
	cl, err := kgo.NewClient(append(conn.options(), kgo.MetadataMinAge(100*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("open a Kafka client: %w", err)
	}
	return &Admin{conn: conn, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close ends the connection.
func (a *Admin) Close() { a.cl.Close() }

// Ping asks a broker whether it is there.
func (a *Admin) Ping(ctx context.Context) error {
	if err := a.cl.Ping(ctx); err != nil {
		return fmt.Errorf("reach Kafka at %v: %w", a.conn.Brokers, err)
	}
	return nil
}

// Problem is one difference between a topic and its specification.
type Problem struct {
	Topic   string
	What    string
	Missing bool // the topic does not exist
}

func (p Problem) String() string { return p.Topic + ": " + p.What }

// CheckTopics compares the topics with their specifications. A topic may have more
// partitions than specified, never fewer: results follow their request's partition number.
func (a *Admin) CheckTopics(ctx context.Context, specs []schemas.TopicSpec) ([]Problem, error) {
	details, configs, err := a.describe(ctx, specs)
	if err != nil {
		return nil, err
	}
	var problems []Problem
	for _, spec := range specs {
		d, ok := details[spec.Name]
		if !ok || d.Err != nil {
			problems = append(problems, Problem{Topic: spec.Name, What: "does not exist; `millrace topics apply` makes it", Missing: true})
			continue
		}
		problems = append(problems, compare(spec, d, configs[spec.Name])...)
	}
	return problems, nil
}

func (a *Admin) describe(ctx context.Context, specs []schemas.TopicSpec) (kadm.TopicDetails, map[string]map[string]string, error) {
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	details, err := a.adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, nil, fmt.Errorf("list topics: %w", err)
	}
	for name, d := range details {
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			delete(details, name)
		}
	}
	configs := map[string]map[string]string{}
	if len(details) > 0 {
		described, err := a.adm.DescribeTopicConfigs(ctx, details.Names()...)
		if err != nil {
			return nil, nil, fmt.Errorf("describe topic configurations: %w", err)
		}
		for _, rc := range described {
			configs[rc.Name] = map[string]string{}
			for _, c := range rc.Configs {
				configs[rc.Name][c.Key] = c.MaybeValue()
			}
		}
	}
	return details, configs, nil
}

func compare(spec schemas.TopicSpec, d kadm.TopicDetail, config map[string]string) []Problem {
	var problems []Problem
	if n := len(d.Partitions); n < int(spec.Partitions) {
		problems = append(problems, Problem{Topic: spec.Name, What: fmt.Sprintf("has %d partitions, %d are wanted", n, spec.Partitions)})
	}
	if r := d.Partitions.NumReplicas(); spec.ReplicationFactor > 0 && r != int(spec.ReplicationFactor) {
		problems = append(problems, Problem{Topic: spec.Name, What: fmt.Sprintf("has replication factor %d, %d is wanted; reassign its partitions", r, spec.ReplicationFactor)})
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Config)) {
		if got := config[key]; got != spec.Config[key] {
			problems = append(problems, Problem{Topic: spec.Name, What: fmt.Sprintf("has %s=%s, %s is wanted", key, got, spec.Config[key])})
		}
	}
	return problems
}

// ApplyTopics makes missing topics, adds missing partitions and sets the configuration.
// It never deletes anything. What it did is returned, a line each.
func (a *Admin) ApplyTopics(ctx context.Context, specs []schemas.TopicSpec) ([]string, error) {
	details, configs, err := a.describe(ctx, specs)
	if err != nil {
		return nil, err
	}
	var done []string
	for _, spec := range specs {
		d, ok := details[spec.Name]
		if !ok {
			config := map[string]*string{}
			for k, v := range spec.Config {
				config[k] = kadm.StringPtr(v)
			}
			if _, err := a.adm.CreateTopic(ctx, spec.Partitions, spec.ReplicationFactor, config, spec.Name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				return done, fmt.Errorf("create topic %s: %w", spec.Name, err)
			}
			done = append(done, fmt.Sprintf("%s: created with %d partitions", spec.Name, spec.Partitions))
			continue
		}
		lines, err := a.alter(ctx, spec, d, configs[spec.Name])
		done = append(done, lines...)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (a *Admin) alter(ctx context.Context, spec schemas.TopicSpec, d kadm.TopicDetail, config map[string]string) ([]string, error) {
	var done []string
	if n := len(d.Partitions); n < int(spec.Partitions) {
		resp, err := a.adm.UpdatePartitions(ctx, int(spec.Partitions), spec.Name)
		if err == nil {
			err = resp.Error()
		}
		if err != nil {
			return done, fmt.Errorf("raise topic %s to %d partitions: %w", spec.Name, spec.Partitions, err)
		}
		done = append(done, fmt.Sprintf("%s: raised from %d to %d partitions", spec.Name, n, spec.Partitions))
	}
	var set []kadm.AlterConfig
	for _, key := range slices.Sorted(maps.Keys(spec.Config)) {
		if got := config[key]; got != spec.Config[key] {
			set = append(set, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: kadm.StringPtr(spec.Config[key])})
			done = append(done, fmt.Sprintf("%s: set %s from %s to %s", spec.Name, key, got, spec.Config[key]))
		}
	}
	if len(set) > 0 {
		resps, err := a.adm.AlterTopicConfigs(ctx, set, spec.Name)
		for _, r := range resps {
			err = errors.Join(err, r.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("configure topic %s: %w", spec.Name, err)
		}
	}
	return done, nil
}

// Lag returns how many records of the topics the group has not committed yet. A topic that
// the group has never committed counts from its start, whether the group exists or not.
func (a *Admin) Lag(ctx context.Context, group string, topics ...string) (int64, error) {
	starts, err := a.adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return 0, fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := a.adm.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return 0, fmt.Errorf("list end offsets: %w", err)
	}
	committed, err := a.adm.FetchOffsets(ctx, group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // nobody has joined yet
		return 0, fmt.Errorf("fetch offsets of group %s: %w", group, err)
	}
	var lag int64
	ends.Each(func(end kadm.ListedOffset) {
		at := int64(0)
		if s, ok := starts.Lookup(end.Topic, end.Partition); ok {
			at = s.Offset
		}
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok && c.At >= 0 {
			at = c.At
		}
		lag += max(0, end.Offset-at)
	})
	return lag, nil
}

// Read hands every committed record that the topic holds at the time of the call to visit,
// partition by partition in offset order, and returns. No group is involved. rec is valid
// until visit returns; an error from visit ends the reading.
func (a *Admin) Read(ctx context.Context, topic string, visit func(rec *schemas.Record) error) error {
	starts, err := a.adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	ends, err := a.adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	if err := ends.Error(); err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		if start.Offset < end.Offset {
			from[end.Partition] = kgo.NewOffset().At(start.Offset)
			left[end.Partition] = end.Offset
		}
	})
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(append(a.conn.options(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(), // they end transactions and so, often, the topic
		kgo.FetchMaxBytes(32<<20), kgo.FetchMaxPartitionBytes(8<<20), kgo.BrokerMaxReadBytes(128<<20))...)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	defer cl.Close()
	var in converter
	for len(left) > 0 {
		fetches := cl.PollRecords(ctx, 65536)
		for _, e := range fetches.Errors() {
			return fmt.Errorf("read topic %s partition %d: %w", topic, e.Partition, e.Err)
		}
		in.reset()
		in.add(fetches)
		raw := fetches.Records()
		for i := range in.records {
			rec := &in.records[i]
			end, ok := left[rec.Partition]
			if !ok || rec.Offset >= end {
				continue
			}
			if !raw[i].Attrs.IsControl() {
				if err := visit(rec); err != nil {
					return err
				}
			}
			if rec.Offset == end-1 {
				delete(left, rec.Partition)
			}
		}
	}
	return nil
}

// FindRecord returns the committed record at an offset.
func (a *Admin) FindRecord(ctx context.Context, topic string, partition int32, offset int64, visit func(rec *schemas.Record) error) error {
	found := errors.New("found")
	err := a.Read(ctx, topic, func(rec *schemas.Record) error {
		if rec.Partition != partition || rec.Offset != offset {
			return nil
		}
		if err := visit(rec); err != nil {
			return err
		}
		return found
	})
	switch {
	case errors.Is(err, found):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("topic %s partition %d has no record at offset %s", topic, partition, strconv.FormatInt(offset, 10))
	}
}
