package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/schemas"
)

// Span is a range of offsets of a partition, from Start to before End.
type Span struct{ Start, End int64 }

// Log is what a topic holds of ended transactions.
type Log struct {
	Topic      string
	ID         uuid.UUID
	Partitions map[int32]Span
}

// Log returns what a topic holds. A topic that does not exist holds nothing and has no id.
func (a *Admin) Log(ctx context.Context, topic string) (Log, error) {
	l := Log{Topic: topic, Partitions: map[int32]Span{}}
	details, err := whole(a.adm.ListTopics(kadm.WithAuthorizedOps(ctx), topic))
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("look at topic %s: %w", topic, lacking(err, onTopics("Describe", topic)))
	}
	l.ID = topicIDOf(details[topic].ID, topic)
	ended, err := a.ended(ctx, topic)
	if err != nil {
		return l, fmt.Errorf("look at topic %s: %w", topic, lacking(err, onTopics("Describe", topic)))
	}
	for p, s := range ended {
		l.Partitions[p] = Span{s.Start, max(s.Start, s.End)}
	}
	return l, nil
}

// Topics returns the ids of all topics, by name.
func (a *Admin) Topics(ctx context.Context) (map[string]uuid.UUID, error) {
	details, err := a.adm.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", lacking(err, onTopics("Describe", "*")))
	}
	ids := make(map[string]uuid.UUID, len(details))
	for name, d := range details {
		if d.Err == nil {
			ids[name] = topicIDOf(d.ID, name)
		}
	}
	return ids, nil
}

// OffsetsAt returns, for each partition of a topic, the first offset whose record bears that
// time or a later one; the end of the partition where there is none.
func (a *Admin) OffsetsAt(ctx context.Context, topic string, at time.Time) (map[int32]int64, error) {
	listed, err := whole(a.adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic))
	if err != nil {
		return nil, fmt.Errorf("find where topic %s was at %s: %w", topic, at.UTC().Format(time.RFC3339), lacking(err, onTopics("Describe", topic)))
	}
	offsets := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { offsets[o.Partition] = o.Offset })
	return offsets, nil
}

// Committed returns the offsets that a group has committed, by topic and partition. A group
// that does not exist has committed none. An offset whose marker names a deleted topic of the same
// name is left out.
func (a *Admin) Committed(ctx context.Context, group string) (map[string]map[int32]int64, error) {
	fetched, err := committedBy(ctx, a.adm, group)
	if err != nil {
		return nil, err
	}
	ids, err := a.Topics(ctx)
	if err != nil {
		return nil, err
	}
	offsets := map[string]map[int32]int64{}
	fetched.Each(func(o kadm.OffsetResponse) {
		if o.At < 0 {
			return
		}
		if m, ok := parseMarker(o.Metadata); ok && isOther(m.topic, ids[o.Topic], o.Topic) {
			return
		}
		if offsets[o.Topic] == nil {
			offsets[o.Topic] = map[int32]int64{}
		}
		offsets[o.Topic][o.Partition] = o.At
	})
	return offsets, nil
}

// ReadSpans hands the committed records of the spans to visit, those of each partition in
// offset order. Spans are cut to what the topic still holds. rec is valid until visit
// returns; an error from visit ends the reading and is returned. At the end visit gets a record with
// a Fault for each batch that cannot be read, as a reader gets that sets it aside.
func (a *Admin) ReadSpans(ctx context.Context, topic string, spans map[int32]Span, visit func(rec *schemas.Record) error) error {
	held, err := a.ended(ctx, topic)
	if err != nil {
		return fmt.Errorf("read topic %s: %w", topic, err)
	}
	cut := map[int32]Span{}
	for p, s := range spans {
		if h, ok := held[p]; ok {
			cut[p] = Span{max(s.Start, h.Start), min(s.End, h.End)}
		}
	}
	passed, err := a.read(ctx, topic, cut, visit)
	for _, e := range passed {
		if err != nil {
			break
		}
		rec := e.Record()
		err = visit(&rec)
	}
	return err
}

// Place is where a record lies in its topic.
type Place struct {
	Partition int32
	Offset    int64
}

// Note commits offsets for a group that has no members, with text as the metadata of each. So
// something about places in the log is remembered beyond the life of this process.
func (a *Admin) Note(ctx context.Context, group, text string, offsets map[string]map[int32]int64) error {
	all := kadm.Offsets{}
	for topic, partitions := range offsets {
		for p, at := range partitions {
			all.Add(kadm.Offset{Topic: topic, Partition: p, At: at, LeaderEpoch: -1, Metadata: text})
		}
	}
	if _, err := whole(a.adm.CommitOffsets(ctx, group, all)); err != nil {
		return fmt.Errorf("note offsets of group %s: %w", group, lacking(err, onGroup("Read", group), onTopics("Read", slices.Sorted(maps.Keys(offsets))...)))
	}
	return nil
}

// Noted returns what Note has committed last. The text is that of partition 0 of a topic, ""
// where there is none.
func (a *Admin) Noted(ctx context.Context, group, topic string) (text string, offsets map[string]map[int32]int64, err error) {
	fetched, err := committedBy(ctx, a.adm, group)
	if err != nil {
		return "", nil, err
	}
	offsets = map[string]map[int32]int64{}
	fetched.Each(func(o kadm.OffsetResponse) {
		if o.At < 0 {
			return
		}
		if offsets[o.Topic] == nil {
			offsets[o.Topic] = map[int32]int64{}
		}
		offsets[o.Topic][o.Partition] = o.At
		if o.Topic == topic && o.Partition == 0 {
			text = o.Metadata
		}
	})
	return text, offsets, nil
}
