package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	cl, err := conn.Dial(kgo.MetadataMinAge(100 * time.Millisecond))
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
// partitions than specified, never fewer, and no fewer than the one that it follows has.
func (a *Admin) CheckTopics(ctx context.Context, specs []schemas.TopicSpec) ([]Problem, error) {
	details, configs, err := a.describe(ctx, specs)
	if err != nil {
		return nil, err
	}
	var problems []Problem
	for _, spec := range specs {
		d, ok := details[spec.Name]
		if !ok {
			problems = append(problems, Problem{Topic: spec.Name, What: "does not exist; `millrace topics apply` makes it", Missing: true})
			continue
		}
		problems = append(problems, compare(followed(spec, details), d, configs[spec.Name])...)
	}
	return problems, nil
}

// followed returns the specification with the partitions that the topic which it follows has, where
// these are more.
func followed(spec schemas.TopicSpec, details kadm.TopicDetails) schemas.TopicSpec {
	if n := len(details[spec.Follows].Partitions); spec.Follows != "" && n > int(spec.Partitions) {
		spec.Partitions = int32(n)
	} else {
		spec.Follows = ""
	}
	return spec
}

func (a *Admin) describe(ctx context.Context, specs []schemas.TopicSpec) (kadm.TopicDetails, map[string]map[string]string, error) {
	var names []string
	for _, s := range specs {
		names = append(names, s.Name)
		if s.Follows != "" {
			names = append(names, s.Follows)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	// Asking for authorised operations is what makes kadm ask a broker, and not its cache.
	list := func(names ...string) (kadm.TopicDetails, error) {
		details, err := a.adm.ListTopics(kadm.WithAuthorizedOps(ctx), names...)
		return details, lacking(err, onTopics("Describe", names...))
	}
	details, err := list(names...)
	err = eachOf(err, names, func(name string) error {
		_, err := list(name)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list topics: %w", err)
	}
	for name, d := range details {
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			delete(details, name)
		} else if d.Err != nil {
			return nil, nil, fmt.Errorf("list topic %s: %w", name, d.Err)
		}
	}
	configs := map[string]map[string]string{}
	if len(details) > 0 {
		describe := func(names ...string) (kadm.ResourceConfigs, error) {
			described, err := a.adm.DescribeTopicConfigs(ctx, names...)
			return described, lacking(err, onTopics("DescribeConfigs", names...))
		}
		described, err := describe(details.Names()...)
		err = eachOf(err, details.Names(), func(name string) error {
			_, err := describe(name)
			return err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("describe topic configurations: %w", err)
		}
		for _, rc := range described {
			if errors.Is(rc.Err, kerr.UnknownTopicOrPartition) { // deleted since it was listed
				delete(details, rc.Name)
				continue
			}
			if rc.Err != nil {
				return nil, nil, fmt.Errorf("describe configuration of topic %s: %w", rc.Name, rc.Err)
			}
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
		what := fmt.Sprintf("has %d partitions, %d are wanted", n, spec.Partitions)
		if spec.Follows != "" {
			what += fmt.Sprintf(", as many as %s has: the requests of the others wait; `millrace topics apply` adds them", spec.Follows)
		}
		problems = append(problems, Problem{Topic: spec.Name, What: what})
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

// Partitions returns how many partitions the topics have; a missing topic has none.
func (a *Admin) Partitions(ctx context.Context, topics ...string) (map[string]int, error) {
	details, err := a.adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	counts := make(map[string]int, len(details))
	for name, d := range details {
		counts[name] = len(d.Partitions)
	}
	return counts, nil
}

// ApplyTopics makes missing topics, adds missing partitions and sets the configuration.
// It never deletes anything. What it did is returned, a line each; every broker that
// answers knows it then.
func (a *Admin) ApplyTopics(ctx context.Context, specs []schemas.TopicSpec) ([]string, error) {
	done, err := a.apply(ctx, specs)
	if err == nil && len(done) > 0 {
		err = a.awaitBrokers(ctx, specs)
	}
	return done, err
}

func (a *Admin) apply(ctx context.Context, specs []schemas.TopicSpec) (done []string, err error) {
	details, configs, err := a.describe(ctx, specs)
	if err != nil {
		return nil, err
	}
	for _, spec := range specs {
		d, ok := details[spec.Name]
		spec = followed(spec, details)
		if !ok {
			config := map[string]*string{}
			for k, v := range spec.Config {
				config[k] = new(v)
			}
			if _, err := a.adm.CreateTopic(ctx, spec.Partitions, spec.ReplicationFactor, config, spec.Name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				return done, fmt.Errorf("create topic %s: %w", spec.Name, lacking(err, onTopics("Create", spec.Name)))
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
		if _, err := whole(a.adm.UpdatePartitions(ctx, int(spec.Partitions), spec.Name)); err != nil {
			return done, fmt.Errorf("raise topic %s to %d partitions: %w", spec.Name, spec.Partitions, lacking(err, onTopics("Alter", spec.Name)))
		}
		done = append(done, fmt.Sprintf("%s: raised from %d to %d partitions", spec.Name, n, spec.Partitions))
	}
	var set []kadm.AlterConfig
	for _, key := range slices.Sorted(maps.Keys(spec.Config)) {
		if got := config[key]; got != spec.Config[key] {
			set = append(set, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: new(spec.Config[key])})
			done = append(done, fmt.Sprintf("%s: set %s from %s to %s", spec.Name, key, got, spec.Config[key]))
		}
	}
	if len(set) > 0 {
		resps, err := a.adm.AlterTopicConfigs(ctx, set, spec.Name)
		for _, r := range resps {
			err = errors.Join(err, r.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("configure topic %s: %w", spec.Name, lacking(err, onTopics("AlterConfigs", spec.Name)))
		}
	}
	return done, nil
}

// Lag returns how many offsets of the topics' ended transactions the group has not committed yet.
// A record has one offset, and so has the end of a transaction. A topic of which the group has
// committed nothing counts from its start, whether the group exists or not.
func (a *Admin) Lag(ctx context.Context, group string, topics ...string) (int64, error) {
	starts, err := whole(a.adm.ListStartOffsets(ctx, topics...))
	if err != nil {
		return 0, fmt.Errorf("list start offsets: %w", lacking(err, onTopics("Describe", topics...)))
	}
	ends, err := whole(a.adm.ListCommittedOffsets(ctx, topics...))
	if err != nil {
		return 0, fmt.Errorf("list end offsets: %w", lacking(err, onTopics("Describe", topics...)))
	}
	committed, err := committedBy(ctx, a.adm, group)
	if err != nil {
		return 0, err
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

// Members returns the state of a consumer group, as the broker calls it, and how many members
// each client has in it, by client id.
func (a *Admin) Members(ctx context.Context, group string) (state string, members map[string]int, err error) {
	described, err := whole(a.adm.DescribeGroups(ctx, group))
	members = map[string]int{}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return "Dead", members, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("describe group %s: %w", group, lacking(err, onGroup("Describe", group)))
	}
	for _, m := range described[group].Members {
		members[m.ClientID]++
	}
	return described[group].State, members, nil
}

// Undecided returns how many offsets of the topics cannot be read committed yet: those from
// the start of the oldest open transaction of each partition.
func (a *Admin) Undecided(ctx context.Context, topics ...string) (int64, error) {
	ends, err := whole(a.adm.ListEndOffsets(ctx, topics...))
	if err != nil {
		return 0, fmt.Errorf("list end offsets: %w", lacking(err, onTopics("Describe", topics...)))
	}
	committed, err := whole(a.adm.ListCommittedOffsets(ctx, topics...))
	if err != nil {
		return 0, fmt.Errorf("list committed offsets: %w", lacking(err, onTopics("Describe", topics...)))
	}
	var undecided int64
	ends.Each(func(end kadm.ListedOffset) {
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok {
			undecided += max(0, end.Offset-c.Offset)
		}
	})
	return undecided, nil
}

// Read hands every committed record that the topic holds at the time of the call to visit,
// those of each partition in offset order, and returns. No group is involved. rec is valid
// until visit returns; an error from visit ends the reading and is returned. Batches that
// cannot be read are passed over, and are in the error when everything else was visited.
func (a *Admin) Read(ctx context.Context, topic string, visit func(rec *schemas.Record) error) error {
	spans, err := a.ended(ctx, topic)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	passed, err := a.read(ctx, topic, spans, visit)
	for _, e := range passed {
		err = errors.Join(err, fmt.Errorf("topic %s partition %d: the record batch of the offsets %d to %d cannot be read and was passed over: %w",
			topic, e.Partition, e.Offset, e.Next-1, e.Err))
	}
	return err
}

// FindRecord hands the committed record at an offset to visit. It returns an error where there is
// none.
func (a *Admin) FindRecord(ctx context.Context, topic string, partition int32, offset int64, visit func(rec *schemas.Record) error) error {
	spans, err := a.ended(ctx, topic)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	found := false
	if s, ok := spans[partition]; ok && offset >= s.Start && offset < s.End {
		var passed []*UnreadableBatchError
		passed, err = a.read(ctx, topic, map[int32]Span{partition: {offset, offset + 1}}, func(rec *schemas.Record) error {
			found = true
			return visit(rec)
		})
		if err == nil && len(passed) > 0 {
			err = fmt.Errorf("topic %s partition %d: the record batch of offset %d cannot be read: %w", topic, partition, offset, passed[0].Err)
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("topic %s partition %d has no record at offset %d", topic, partition, offset)
	}
	return err
}

// ReadBefore hands the committed records of a partition to visit, in offset order: those
// appended since that time, or later, from offset from on up to but without offset before. The zero
// time leaves the choice to from.
// Batches that cannot be read are passed over: whoever was to handle them has said so.
func (a *Admin) ReadBefore(ctx context.Context, topic string, partition int32, since time.Time, from, before int64, visit func(rec *schemas.Record) error) error {
	starts, err := whole(a.adm.ListStartOffsets(ctx, topic))
	after := starts
	if err == nil && !since.IsZero() {
		after, err = whole(a.adm.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topic))
	}
	if err != nil {
		return fmt.Errorf("find where topic %s partition %d was at %s: %w", topic, partition, since.UTC().Format(time.RFC3339), err)
	}
	start, _ := starts.Lookup(topic, partition)
	first, ok := after.Lookup(topic, partition)
	if !ok || first.Offset < 0 {
		return nil
	}
	_, err = a.read(ctx, topic, map[int32]Span{partition: {max(start.Offset, first.Offset, from), before}}, visit)
	return err
}

// ended returns what each partition of a topic holds of ended transactions.
func (a *Admin) ended(ctx context.Context, topic string) (map[int32]Span, error) {
	return a.spans(ctx, topic, a.adm.ListCommittedOffsets)
}

// spans returns what each partition of a topic holds, up to the ends that list returns.
func (a *Admin) spans(ctx context.Context, topic string, list func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error)) (map[int32]Span, error) {
	starts, err := whole(a.adm.ListStartOffsets(ctx, topic))
	if err != nil {
		return nil, unlisted("start", topic, err)
	}
	ends, err := whole(list(ctx, topic))
	if err != nil {
		return nil, unlisted("end", topic, err)
	}
	spans := map[int32]Span{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		spans[end.Partition] = Span{start.Offset, end.Offset}
	})
	return spans, nil
}

// unlisted says why the start or end offsets of a topic could not be listed.
func unlisted(which, topic string, err error) error {
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("topic %s does not exist; `millrace topics apply` makes it: %w", topic, err)
	}
	return fmt.Errorf("list %s offsets: %w", which, lacking(err, onTopics("Describe", topic)))
}

// whole returns what a call of kadm has answered, and the errors that the answer holds as errors
// of the call.
func whole[A interface{ Error() error }](answer A, err error) (A, error) {
	if err == nil {
		err = answer.Error()
	}
	return answer, err
}

// read hands the committed records of the spans to visit. A span is finished when a record at
// its last offset or behind it has come. That may be a control record, which ends a transaction,
// and often the topic. Where a span ends with an aborted transaction, and another is open behind
// it, read waits for that to end. Batches that cannot be read are passed over, and returned.
func (a *Admin) read(ctx context.Context, topic string, spans map[int32]Span, visit func(rec *schemas.Record) error) (passed []*UnreadableBatchError, err error) {
	from, ends := map[int32]kgo.Offset{}, map[int32]int64{}
	for partition, s := range spans {
		if s.Start < s.End {
			from[partition], ends[partition] = kgo.NewOffset().At(s.Start), s.End
		}
	}
	if len(ends) == 0 {
		return nil, nil
	}
	cl, err := a.conn.Dial(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(32<<20), kgo.FetchMaxPartitionBytes(8<<20), kgo.BrokerMaxReadBytes(128<<20), kgo.MaxDecompressBatchBytes(maxBatchBytes))
	if err != nil {
		return nil, fmt.Errorf("read topic %s: %w", topic, err)
	}
	defer cl.Close()
	var in converter
	next := map[int32]int64{}
	for partition, s := range spans {
		next[partition] = s.Start
	}
	for len(ends) > 0 {
		fetches := cl.PollRecords(ctx, 65536)
		for _, e := range fetches.Errors() {
			over, err := passOver(ctx, cl, e, next[e.Partition])
			if err != nil {
				return passed, fmt.Errorf("read topic %s partition %d: %w", topic, e.Partition, lacking(err, onTopics("Read", topic)))
			}
			if over.Offset < ends[e.Partition] { // 0 when the partition is done
				passed = append(passed, over)
			}
			if over.Next >= ends[e.Partition] {
				delete(ends, e.Partition)
			}
		}
		in.reset()
		in.add(fetches, time.Now())
		for i := range in.records {
			rec := &in.records[i]
			if rec.Offset >= ends[rec.Partition] { // 0 when the partition is done
				continue
			}
			if err := visit(rec); err != nil {
				return passed, err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next[r.Partition] = r.Offset + 1
			if r.Offset >= ends[r.Partition]-1 {
				delete(ends, r.Partition)
			}
		})
	}
	return passed, nil
}
