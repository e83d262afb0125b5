package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/kafka"
)

// Replayed counts what a replay did.
type Replayed struct {
	Sent    int
	Skipped int // their request was sent again before
	Moved   int // sent to another partition than their request, whose partition the topic does not have any more
}

// What one transaction of a replay holds at most. While it is open nobody reads on in the
// partitions that it writes to. It is over within milliseconds, or within ten seconds where the
// replay is killed meanwhile.
const (
	replayLetters = 1000
	replayBytes   = 1 << 20
)

// ReplayDeadLetters sends the requests of the letters that match again, each to the partition
// that it came from. A request and the mark that says so are one transaction: it was sent if
// and only if it is marked, wherever the replay ends, and another call goes on there. Requests
// that are marked are skipped unless filter.Again.
//
// Where the request that a replay sends fails again, it becomes another dead letter. While that
// exists it stands for the letter that was replayed, which is then skipped even with filter.Again,
// unless it is named. So a call sends each request once, however often it failed before. What
// fails during the call is not replayed by it.
//
// A second call at the same time takes over from the first, which ends with an error.
func ReplayDeadLetters(ctx context.Context, cfg config.Config, filter LetterFilter) (done Replayed, err error) {
	err = withAdmin(cfg, func(admin *consumers.Admin) error {
		reached, cancel := context.WithTimeout(ctx, reach)
		defer cancel()
		if err := needControl(reached, cfg, admin); err != nil {
			return err
		}
		// First of all: what another replay has committed can be read from here on, and it
		// commits no more.
		out, err := kafka.NewTransactor(reached, cfg.Kafka.Connection().Dial, "millrace-replay-"+cfg.Topics.DeadLetters)
		if err != nil {
			return err
		}
		defer out.Close()
		r := &replay{cfg: cfg, admin: admin, out: out, filter: filter, partitions: map[string]int{}}
		err = r.run(ctx)
		done = r.done
		if errors.Is(err, kafka.ErrFenced) {
			err = fmt.Errorf("%w: another `millrace deadletters replay` has begun, and goes on from here", err)
		}
		return errors.Join(append(r.passed, err)...)
	})
	return done, err
}

// needControl checks that marks can be kept. A topic that forgets by age would have letters
// replayed twice.
func needControl(ctx context.Context, cfg config.Config, admin *consumers.Admin) error {
	if err := admin.Ping(ctx); err != nil {
		return err
	}
	specs := cfg.Topics.Specs(nil, cfg.Topics.TopicSettings)
	i := slices.IndexFunc(specs, func(s schemas.TopicSpec) bool { return s.Name == cfg.Topics.Control })
	spec := specs[i]
	spec.ReplicationFactor = -1 // any will do
	spec.Config = map[string]string{"cleanup.policy": spec.Config["cleanup.policy"]}
	problems, err := admin.CheckTopics(ctx, []schemas.TopicSpec{spec})
	if err != nil {
		return err
	}
	switch {
	case len(problems) == 0:
		return nil
	case problems[0].Missing:
		return fmt.Errorf("topic %s", problems[0])
	default:
		return fmt.Errorf("topic %s, or what is kept there would be lost; `millrace topics apply` sets it", problems[0])
	}
}

// readReplayMarks returns the marks of all requests that were sent again.
func readReplayMarks(ctx context.Context, cfg config.Config, admin *consumers.Admin) (map[schemas.Coordinates]schemas.ReplayMark, error) {
	marks := map[schemas.Coordinates]schemas.ReplayMark{}
	state, err := admin.Topic(ctx, cfg.Topics.Control)
	if err == nil && len(state.Starts) == 0 {
		err = fmt.Errorf("topic %s does not exist; `millrace topics apply` makes it", cfg.Topics.Control)
	}
	if err == nil {
		err = admin.Read(ctx, cfg.Topics.Control, func(rec *schemas.Record) error {
			switch mark, gone, ok := schemas.ReadReplayMark(rec); {
			case ok && gone:
				delete(marks, mark.Request)
			case ok:
				marks[mark.Request] = mark
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read which dead letters were replayed: %w", err)
	}
	return marks, nil
}

// replay is one call of ReplayDeadLetters.
type replay struct {
	cfg    config.Config
	admin  *consumers.Admin
	out    *kafka.Transactor
	filter LetterFilter

	marks      map[schemas.Coordinates]schemas.ReplayMark
	stale      map[schemas.Coordinates]bool // marks whose letter is gone
	superseded map[string]bool              // default ids of requests whose replay became a dead letter
	sent       map[schemas.Coordinates]bool // by this call, or about to be
	partitions map[string]int               // of requests topics

	batch      []letter
	batchBytes int

	found  int
	done   Replayed
	passed []error // letters that cannot be replayed; they must not keep the others from it
}

// letter is a request to be sent again, with its mark.
type letter struct {
	id      LetterID
	message schemas.Message
	mark    schemas.ReplayMark
	moved   bool
}

func (r *replay) run(ctx context.Context) error {
	if err := r.survey(ctx); err != nil {
		return err
	}
	r.sent = map[schemas.Coordinates]bool{}
	if err := eachLetter(ctx, r.cfg, r.admin, r.filter, func(rec *schemas.Record) error { return r.visit(ctx, rec) }); err != nil {
		return err
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	if missing := len(r.filter.Only) - r.found; missing > 0 {
		return fmt.Errorf("%d of the %d dead letters named were not found", missing, len(r.filter.Only))
	}
	return r.forget(ctx)
}

// survey finds out what was replayed, with what outcome, and which marks are of no use.
func (r *replay) survey(ctx context.Context) (err error) {
	if r.marks, err = readReplayMarks(ctx, r.cfg, r.admin); err != nil {
		return err
	}
	topic, err := r.admin.Topic(ctx, r.cfg.Topics.DeadLetters)
	if err != nil {
		return err
	}
	r.stale, r.superseded = map[schemas.Coordinates]bool{}, map[string]bool{}
	for request, mark := range r.marks {
		if start, ok := topic.Starts[mark.Letter.Partition]; !ok || mark.Letter.TopicID != topic.ID || mark.Letter.Offset < start {
			r.stale[request] = true
		}
	}
	return r.admin.Read(ctx, r.cfg.Topics.DeadLetters, func(rec *schemas.Record) error {
		if of, ok := rec.Header(schemas.HeaderReplayOf); ok {
			r.superseded[string(of)] = true
		}
		if c, ok := schemas.DeadLetterCoordinates(rec); ok {
			delete(r.stale, c) // there is another letter of this request
		}
		return nil
	})
}

func (r *replay) visit(ctx context.Context, rec *schemas.Record) error {
	r.found++
	pass := func(format string, args ...any) error {
		r.passed = append(r.passed, fmt.Errorf("dead letter %d/%d: "+format, append([]any{rec.Partition, rec.Offset}, args...)...))
		return nil
	}
	request, known := schemas.DeadLetterCoordinates(rec)
	_, marked := r.marks[request]
	named := len(r.filter.Only) > 0
	switch {
	case known && r.sent[request],
		marked && !r.filter.Again,
		marked && !named && r.superseded[string(request.AppendID(nil))]: // the header alone proves nothing: anybody can send it
		r.done.Skipped++
		return nil
	case rec.HeaderText(schemas.HeaderErrorClass) == string(schemas.ErrorClassUnreadableBatch):
		return pass("nothing of its request could be read, so that there is nothing to send")
	case !known:
		return pass("its headers do not say which request it was")
	}
	if _, ok := rec.Header(schemas.HeaderCut); ok {
		return pass("the request was too large to be kept whole, and cannot be replayed")
	}
	m := schemas.ReplayOf(rec)
	if _, ok := r.cfg.Topics.ModelOf(m.Topic); !ok {
		return pass("%q is no requests topic", m.Topic)
	}
	n, asked := r.partitions[m.Topic]
	if !asked {
		state, err := r.admin.Topic(ctx, m.Topic)
		if err != nil {
			return err
		}
		n = len(state.Starts)
		r.partitions[m.Topic] = n
	}
	if n == 0 {
		return pass("its topic %s does not exist any more", m.Topic)
	}
	moved := int(m.Partition) >= n
	if moved {
		m.Partition = schemas.AnyPartition
	}
	size := len(m.Key) + len(m.Value)
	for i, h := range m.Headers {
		size += len(h.Key) + len(h.Value)
		m.Headers[i].Value = bytes.Clone(h.Value)
	}
	m.Key, m.Value = bytes.Clone(m.Key), bytes.Clone(m.Value)
	if len(r.batch) == replayLetters || len(r.batch) > 0 && r.batchBytes+size > replayBytes {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	r.sent[request] = true
	r.batchBytes += size
	r.batch = append(r.batch, letter{
		id: LetterID{rec.Partition, rec.Offset}, message: m, moved: moved,
		mark: schemas.ReplayMark{
			Request: request, At: time.Now(), Requests: m.Topic, Partition: m.Partition,
			Letter: schemas.Place{TopicID: rec.TopicID, Partition: rec.Partition, Offset: rec.Offset},
		},
	})
	return nil
}

// flush sends what has been gathered.
func (r *replay) flush(ctx context.Context) error {
	batch := r.batch
	r.batch, r.batchBytes = r.batch[:0], 0
	return r.send(ctx, batch)
}

// send sends letters with their marks. Where a topic takes one of them no more, the others
// are sent without it.
func (r *replay) send(ctx context.Context, letters []letter) error {
	if len(letters) == 0 {
		return nil
	}
	messages := make([]schemas.Message, 0, 2*len(letters))
	moved := 0
	for _, l := range letters {
		mark, err := l.mark.Message(r.cfg.Topics.Control)
		if err != nil {
			return err
		}
		messages = append(messages, l.message, mark)
		if l.moved {
			moved++
		}
	}
	err := r.out.Commit(ctx, messages)
	switch {
	case err == nil:
		r.done.Sent += len(letters)
		r.done.Moved += moved
		return nil
	case !errors.Is(err, kafka.ErrTooLarge):
		return err
	case len(letters) == 1:
		id := letters[0].id
		r.passed = append(r.passed, fmt.Errorf("dead letter %d/%d: %w", id.Partition, id.Offset, err))
		return nil
	}
	if err := r.send(ctx, letters[:len(letters)/2]); err != nil {
		return err
	}
	return r.send(ctx, letters[len(letters)/2:])
}

// forget deletes the marks of letters that are gone, so that the control topic does not grow
// for ever.
func (r *replay) forget(ctx context.Context) error {
	for stale := range slices.Chunk(slices.Collect(maps.Keys(r.stale)), replayLetters) {
		messages := make([]schemas.Message, len(stale))
		for i, request := range stale {
			messages[i] = schemas.Message{Topic: r.cfg.Topics.Control, Partition: schemas.AnyPartition, Key: schemas.ReplayMarkKey(request)}
		}
		if err := r.out.Commit(ctx, messages); err != nil {
			return fmt.Errorf("delete the marks of letters that are gone: %w", err)
		}
	}
	return nil
}
