package consumers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// GroupOffset is what a group has committed of a partition.
type GroupOffset struct {
	Topic     string
	Partition int32
	Committed int64 // -1: nothing
	LogStart  int64
	LogEnd    int64
	Says      string // what a recorder's commit says of it, in words; empty: nothing
}

// GroupOffsets returns what a group has committed of the topics, by topic and partition. Where no
// topic is named it returns all that the group has committed.
func (a *Admin) GroupOffsets(ctx context.Context, group string, topics ...string) ([]GroupOffset, error) {
	committed, err := committedBy(ctx, a.adm, group)
	if err != nil {
		return nil, err
	}
	if len(topics) == 0 {
		if topics = slices.Sorted(maps.Keys(committed)); len(topics) == 0 {
			return nil, fmt.Errorf("group %s has committed no offset, or only of topics on which this user lacks the ACL Describe", group)
		}
	}
	starts, ends, err := a.bounds(ctx, topics...)
	if err != nil {
		return nil, err
	}
	details, err := a.adm.ListTopics(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	var out []GroupOffset
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		o := GroupOffset{Topic: end.Topic, Partition: end.Partition, Committed: -1, LogStart: start.Offset, LogEnd: end.Offset}
		if at, ok := committed.Lookup(end.Topic, end.Partition); ok && at.At >= 0 {
			o.Committed = at.At
			o.Says = saysOf(at, end.Topic, topicIDOf(details[end.Topic].ID, end.Topic))
		}
		out = append(out, o)
	})
	slices.SortFunc(out, func(a, b GroupOffset) int {
		if a.Topic != b.Topic {
			return strings.Compare(a.Topic, b.Topic)
		}
		return int(a.Partition - b.Partition)
	})
	return out, nil
}

// saysOf tells in words what the marker of a commit says.
func saysOf(o kadm.OffsetResponse, topic string, id uuid.UUID) string {
	m, ok := parseMarker(o.Metadata)
	switch {
	case !ok:
		return ""
	case isOther(m.topic, id, topic):
		return "of a topic of that name that is gone"
	case m.at != o.At:
		return "unproven: its rows will be looked for"
	case m.pending > o.At:
		return fmt.Sprintf("storing up to %d", m.pending)
	}
	return "stored up to here"
}

// bounds returns where the logs of topics start and end.
func (a *Admin) bounds(ctx context.Context, topics ...string) (starts, ends kadm.ListedOffsets, err error) {
	if starts, err = whole(a.adm.ListStartOffsets(ctx, topics...)); err != nil {
		return nil, nil, fmt.Errorf("list start offsets of %s: %w", strings.Join(topics, ", "), lacking(err, onTopics("Describe", topics...)))
	}
	if ends, err = whole(a.adm.ListEndOffsets(ctx, topics...)); err != nil {
		return nil, nil, fmt.Errorf("list end offsets of %s: %w", strings.Join(topics, ", "), lacking(err, onTopics("Describe", topics...)))
	}
	return starts, ends, nil
}

// The places that ValidPlace and SetOffsets take beside an offset and a time.
const (
	Earliest = "earliest"
	Latest   = "latest"
)

// ValidPlace tells whether SetOffsets takes a place: earliest, latest, an offset, or a time as in RFC 3339.
func ValidPlace(to string) bool {
	if to == Earliest || to == Latest {
		return true
	}
	if n, err := strconv.ParseInt(to, 10, 64); err == nil {
		return n >= 0
	}
	_, err := time.Parse(time.RFC3339, to)
	return err == nil
}

// SetOffset is an offset that SetOffsets has set.
type SetOffset struct {
	Topic     string
	Partition int32
	From, To  int64 // From is -1 where nothing was committed
}

// SetOffsets sets the offsets of a group that has no members, of one partition of a topic or, where
// partition is -1, of all, to a place that ValidPlace takes. The lease in the commit of a recorder,
// which may still be storing, is kept. An offset must lie in the log; a time after the last record
// is the end of the log.
func (a *Admin) SetOffsets(ctx context.Context, group, topic string, partition int32, to string) ([]SetOffset, error) {
	members, err := membersOf(ctx, a.adm, group)
	if err != nil {
		return nil, err
	}
	if members > 0 {
		return nil, fmt.Errorf("group %s has %d members; stop them first: a running member goes on where it is, and commits that", group, members)
	}
	starts, ends, err := a.bounds(ctx, topic)
	if err != nil {
		return nil, err
	}
	var after kadm.ListedOffsets
	if at, err := time.Parse(time.RFC3339, to); err == nil {
		if after, err = whole(a.adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topic)); err != nil {
			return nil, fmt.Errorf("find where topic %s was at %s: %w", topic, to, err)
		}
	}
	committed, err := committedBy(ctx, a.adm, group)
	if err != nil {
		return nil, err
	}
	details, err := a.adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("list topic %s: %w", topic, err)
	}
	id := topicIDOf(details[topic].ID, topic)
	var set []SetOffset
	var faults []error
	offsets := kadm.Offsets{}
	for _, p := range slices.Sorted(maps.Keys(ends[topic])) {
		if partition >= 0 && p != partition {
			continue
		}
		start, _ := starts.Lookup(topic, p)
		end, _ := ends.Lookup(topic, p)
		place, err := placeIn(to, start.Offset, end.Offset, after, topic, p)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		o, ok := committed.Lookup(topic, p)
		if !ok {
			o.At = -1
		}
		set = append(set, SetOffset{Topic: topic, Partition: p, From: o.At, To: place})
		offsets.Add(kadm.Offset{Topic: topic, Partition: p, At: place, LeaderEpoch: -1, Metadata: carried(o, id, topic, place)})
	}
	if len(set) == 0 && len(faults) == 0 {
		return nil, fmt.Errorf("topic %s has no partition %d", topic, partition)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	_, err = whole(a.adm.CommitOffsets(ctx, group, offsets))
	if errors.Is(err, kerr.UnknownMemberID) {
		return nil, fmt.Errorf("group %s has members by now; stop them first", group)
	}
	if err != nil {
		return nil, fmt.Errorf("set offsets of group %s: %w", group, lacking(err, onGroup("Read", group), onTopics("Read", topic)))
	}
	return set, nil
}

// placeIn returns the offset of a place in a log.
func placeIn(to string, start, end int64, after kadm.ListedOffsets, topic string, partition int32) (int64, error) {
	switch to {
	case Earliest:
		return start, nil
	case Latest:
		return end, nil
	}
	if after != nil {
		if o, ok := after.Lookup(topic, partition); ok && o.Offset >= 0 {
			return max(start, min(end, o.Offset)), nil
		}
		return end, nil
	}
	n, err := strconv.ParseInt(to, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is neither earliest, latest, an offset nor a time such as 2026-11-29T12:00:00Z", to)
	}
	if n < start || n > end {
		return 0, fmt.Errorf("topic %s partition %d: offset %d is not in the log, which has %d to %d", topic, partition, n, start, end)
	}
	return n, nil
}

// carried returns the metadata of an offset that an operator sets, made from that of the commit
// before it: a recorder takes the offset for unproven, and waits for the lease that is named. An
// offset that is set to where it was keeps its metadata.
func carried(o kadm.OffsetResponse, id uuid.UUID, topic string, to int64) string {
	m, ok := parseMarker(o.Metadata)
	switch {
	case !ok:
		return ""
	case o.At == to && !isOther(m.topic, id, topic):
		return o.Metadata
	}
	return marker{topic: id, at: -1, pending: m.pending, lease: m.lease}.String()
}

// offsetsCommand is the line with which an operator has a group go on at a place.
func offsetsCommand(group, topic string, partition int32, to string) string {
	return fmt.Sprintf("millrace offsets set --group %s --topic %s:%d --to %s", shellWord(group), shellWord(topic), partition, to)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)

// shellWord quotes a name for a shell where it needs that.
func shellWord(name string) string {
	if plainWord.MatchString(name) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
