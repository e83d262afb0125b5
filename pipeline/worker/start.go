package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// starter decides where lanes begin to read partitions of which the workers' group has no
// commit. It is safe for concurrent use.
//
// A partition of which nothing was ever answered begins at its start. For any other worker.start
// decides. Where that is empty the lane does not start: the group was renamed or deleted, or was
// away for so long that Kafka has dropped its offsets, and everything would be answered again.
type starter struct {
	group    string
	setting  string
	delivery consumers.Delivery
	topics   schemas.Topics
	log      zerolog.Logger
	read     requestLog

	found chan map[origin]int64 // holds one map: offsets behind what was answered, of partitions that no lane has asked about yet
}

func newStarter(cfg config.Config, log zerolog.Logger, read requestLog) *starter {
	s := &starter{
		group: cfg.Worker.Group, setting: cfg.Worker.Start, delivery: cfg.Worker.Delivery, topics: cfg.Topics.Topics, log: log, read: read,
		found: make(chan map[origin]int64, 1),
	}
	s.found <- map[origin]int64{}
	return s
}

// requestLog is what starter reads of Kafka: see consumers.Admin.
type requestLog interface {
	Ranges(ctx context.Context, topic string) (map[int32]consumers.Span, error)
	ReadRanges(ctx context.Context, topic string, ranges map[int32]consumers.Span, visit func(rec *schemas.Record) error) error
	OffsetsAt(ctx context.Context, topic string, at time.Time) (map[int32]int64, error)
}

// unstarted is one partition that starter decides about.
type unstarted struct {
	consumers.Unstarted
	evidence
	at int64 // where it begins
}

// origin is a partition as answers name it.
type origin struct {
	topic     uuid.UUID
	partition int32
}

func (u *unstarted) origin() origin { return origin{u.TopicID, u.Partition} }

// Start is consumers.LaneConfig.Start.
func (s *starter) Start(ctx context.Context, partitions []consumers.Unstarted) ([]int64, error) {
	all := make([]unstarted, len(partitions))
	byTopic := map[string][]*unstarted{}
	for i, p := range partitions {
		all[i] = unstarted{Unstarted: p, at: p.Start}
		// Where a partition is empty, nothing can be answered again.
		if p.Start < p.End && s.setting != config.StartEarliest {
			byTopic[p.Topic] = append(byTopic[p.Topic], &all[i])
		}
	}
	answered, err := s.answered(ctx, byTopic)
	if err != nil {
		return nil, err
	}
	if s.setting == config.StartAnswered && len(answered) > 0 {
		if err := s.behind(ctx, answered); err != nil {
			return nil, err
		}
	}
	var refused []string
	for topic, ps := range answered {
		refusal, err := s.place(ctx, topic, ps)
		if err != nil {
			return nil, err
		}
		if refusal != "" {
			refused = append(refused, refusal)
		}
	}
	if len(refused) > 0 {
		slices.Sort(refused)
		return nil, &consumers.StartError{Group: s.group, Reason: strings.Join(refused, "; ") + "; " + s.advice()}
	}
	starts := make([]int64, len(all))
	for i := range all {
		starts[i] = all[i].at
		if u := &all[i]; u.at > u.Start {
			s.log.Info().Str("topic", u.Topic).Int32("partition", u.Partition).Int64("from", u.at).Int64("log_start", u.Start).Int64("log_end", u.End).
				Msg("the group has no offset here; it starts where worker.start says")
		}
	}
	return starts, nil
}

// place says where partitions begin of which requests were answered, or why that is not known.
func (s *starter) place(ctx context.Context, topic string, answered []*unstarted) (refusal string, err error) {
	switch s.setting {
	case config.StartRefuse:
		return s.refusal(topic, answered), nil
	case config.StartLatest:
		for _, u := range answered {
			u.at = u.End
		}
		return "", nil
	case config.StartAnswered:
		lost := slices.DeleteFunc(slices.Clone(answered), func(u *unstarted) bool { return !isLost(u) })
		if len(lost) == 0 {
			return "", nil
		}
		return "worker.start=answered cannot find where to start: " + s.refusal(topic, lost), nil
	default:
		at, err := time.Parse(time.RFC3339, s.setting)
		if err != nil {
			return "", fmt.Errorf("worker.start: %w", err)
		}
		offsets, err := s.read.OffsetsAt(ctx, topic, at)
		if err != nil {
			return "", err
		}
		for _, u := range answered {
			if from, ok := offsets[u.Partition]; ok {
				u.at = max(u.at, from)
			}
		}
		return "", nil
	}
}

func isLost(u *unstarted) bool { return u.lost != "" }

// refusal tells what was found of partitions.
func (s *starter) refusal(topic string, found []*unstarted) string {
	texts := make([]string, len(found))
	for i, u := range found {
		what := u.lost
		if what == "" {
			what = fmt.Sprintf("%s and %s tell that requests were answered, up to offset %d at least", s.topics.Observations, s.topics.DeadLetters, u.last)
		}
		texts[i] = fmt.Sprintf("partition %d (log %d to %d): %s", u.Partition, u.Start, u.End, what)
	}
	return fmt.Sprintf("it has no offset of topic %s: %s", topic, strings.Join(texts, "; "))
}

// advice names what can be chosen.
func (s *starter) advice() string {
	options := []string{
		"`--set worker.start=answered` goes on behind what was answered",
		"`--set worker.start=earliest` answers all that these topics hold again",
		"`--set worker.start=latest` leaves unanswered what they hold",
		"`--set worker.start=" + time.Now().UTC().Truncate(time.Hour).Format(time.RFC3339) + "` begins with the requests of that time",
	}
	if s.setting == config.StartAnswered {
		options = options[1:]
	}
	return "the group may have been renamed (worker.group) or deleted, or Kafka may have dropped its offsets while it had no member. Say once where it starts: " +
		strings.Join(options, ", ")
}

func (s *starter) results(topic string) string {
	model, _ := s.topics.ModelOf(topic)
	return s.topics.ResultsOf(model)
}
