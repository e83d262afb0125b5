package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers/kafkatest"
	"github.com/millrace/millrace/pipeline/operate"
)

// What roles must say about incidents. The words are those that an operator would look for.
var (
	asksWhere   = regexp.MustCompile(`worker\.start`)
	looksFor    = regexp.MustCompile(`looked for`)
	oldOneFirst = regexp.MustCompile(`stop the old one first`)
	wrongClock  = regexp.MustCompile(`clock`)
	restores    = regexp.MustCompile(`stored again|restored`)
	restored    = regexp.MustCompile(`what was stored is there`)
	cannotRead  = regexp.MustCompile(`cannot be read`)
	wasSkipped  = regexp.MustCompile(`unreadable|cannot be read`)
)

const (
	// flowing is how long the requests of an incident flow.
	flowing = 8 * time.Second
	// beforehand is how long they flow before it.
	beforehand = 2 * time.Second
	// oneStep bounds what an operator waits for at a time, such as the end of a group.
	oneStep = time.Minute
)

// quiet tells whether an operator lets everything be answered and stored before the
// incident: what nobody has read of a topic that is deleted is lost, whoever made it.
func (in Incident) quiet() bool { return in.Kind == Again }

// happened is an incident and when it did.
type happened struct {
	Incident
	from, until time.Time
}

// incidents happen one after the other. Requests flow before each, and while and after it
// as far as it allows; then all is answered and stored.
func (r *run) incidents(ctx context.Context) error {
	sent, n := r.flooded(), len(r.plan.Incidents)
	for i, in := range r.plan.Incidents {
		r.log.Info().Stringer("incident", in).Msg("an incident")
		to := r.flooded() + (r.load.total-r.flooded())*(i+1)/n
		h := happened{Incident: in, from: time.Now()}
		err := r.happen(ctx, in, sent, to)
		sent, h.until = to, time.Now()
		r.happened = append(r.happened, h)
		if err == nil {
			err = r.settle(ctx)
		}
		if err == nil {
			err = r.cluster.revive(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", in, err)
		}
		if !r.unfinished {
			if err := r.equal(ctx, in); err != nil {
				return fmt.Errorf("%s: %w", in, err)
			}
		} else {
			r.findings = append(r.findings, Finding{What: fmt.Sprintf("after %q the rest was not tried", in), At: h.until})
			r.load.total = sent
			return nil
		}
	}
	return nil
}

// happen sends requests, from one number to before another, and does the incident.
func (r *run) happen(ctx context.Context, in Incident, from, to int) error {
	produce := func(ctx context.Context, from, to int, over time.Duration) error {
		return r.load.Produce(ctx, r.cluster.cfg.Kafka.Connection(), from, to, over)
	}
	half := from + (to-from)/2
	if in.quiet() {
		if err := produce(ctx, from, half, beforehand); err != nil {
			return err
		}
		if err := r.settle(ctx); err != nil || r.unfinished {
			return err
		}
		if err := r.befallAmid(ctx, in); err != nil {
			return err
		}
		return produce(ctx, half, to, beforehand)
	}
	group, ctx := errgroup.WithContext(ctx)
	r.flowed = make(chan struct{})
	group.Go(func() error {
		defer close(r.flowed)
		return produce(ctx, from, to, flowing)
	})
	group.Go(func() error {
		if err := sleep(ctx, beforehand); err != nil {
			return err
		}
		return r.befallAmid(ctx, in)
	})
	return group.Wait()
}

// befallAmid does the incident, and meanwhile the faults.
func (r *run) befallAmid(ctx context.Context, in Incident) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, f := range in.Amid {
		r.amid++
		group.Go(func() error {
			if err := sleep(ctx, f.At); err != nil {
				return err
			}
			return r.cluster.Do(ctx, f)
		})
	}
	group.Go(func() error { return r.befall(ctx, in) })
	return group.Wait()
}

// befall does the incident, hears what is said about it, and does what an operator would.
func (r *run) befall(ctx context.Context, in Incident) error {
	switch in.Kind {
	case Forget, Rename:
		if in.Target == worker {
			return r.strand(ctx, in)
		}
		if in.Kind == Rename {
			return r.renameRecorders(ctx, in)
		}
		return r.resetRecorders(ctx, in)
	case Rewind:
		return r.resetRecorders(ctx, in)
	case Again:
		return r.makeAgain(ctx, in)
	case Clock:
		return r.moveClock(ctx, in)
	case Parts:
		return r.losePower(ctx, in)
	case Poison:
		return r.poison(ctx, in)
	default:
		return fmt.Errorf("%s is no incident", in.Kind)
	}
}

// group returns the name of a role's group.
func (c *cluster) group(role string) string {
	if role == worker {
		return c.cfg.Worker.Group
	}
	return c.cfg.Recorder.Group
}

// rename gives the group of a role another name, for all its processes that are to start.
func (c *cluster) rename(role, group string) {
	if role == worker {
		c.cfg.Worker.Group = group
	} else {
		c.cfg.Recorder.Group = group
	}
	for name, p := range c.roles {
		if roleOf(name) == role {
			p.set(role+".group", group)
		}
	}
}

// topicOf returns the name of a topic by what it holds.
func (c *cluster) topicOf(holds string) string {
	t := c.cfg.Topics
	return map[string]string{
		requests: t.RequestsOf(model), results: t.ResultsOf(model), observations: t.Observations, deadLetters: t.DeadLetters,
	}[holds]
}

// strand takes from the workers what they know of their place: they must not answer what is
// answered already. They are told to look for it, once.
func (r *run) strand(ctx context.Context, in Incident) error {
	c, workers := r.cluster, r.topology.members(worker)
	group := c.cfg.Worker.Group + "-renamed"
	if in.Kind == Rename {
		if err := r.joinRenamed(ctx, in, group, asksWhere); err != nil {
			return err
		}
	}
	if err := r.empty(ctx, worker, false); err != nil {
		return err
	}
	if in.Kind == Rename {
		c.rename(worker, group)
	} else if err := r.op.DeleteGroup(ctx, c.cfg.Worker.Group); err != nil {
		return err
	}
	since := c.mark()
	if err := c.startAll(ctx, workers); err != nil {
		return err
	}
	said, err := c.hear(ctx, in, since, demand{of: workers, words: asksWhere, level: zerolog.WarnLevel, refuses: true})
	if err != nil || said == "" {
		return err
	}
	for _, where := range []string{"answered", ""} { // once is enough
		if err := r.empty(ctx, worker, true); err != nil {
			return err
		}
		c.set(workers, "worker.start", where)
		if err := c.startAll(ctx, workers); err != nil {
			return r.cannotStart(ctx, in, workers, "worker.start", err)
		}
		if err := r.recovered(ctx, in); err != nil {
			return err
		}
		if err := r.placed(ctx, in); err != nil {
			return err
		}
	}
	return nil
}

// placed waits until the workers' group has a place in every partition that holds anything.
func (r *run) placed(ctx context.Context, in Incident) error {
	waiting, cancel := context.WithTimeout(ctx, oneStep)
	defer cancel()
	for {
		extents, err := r.op.Extents(waiting, r.cluster.cfg.Worker.Group, r.load.topic)
		open := 0
		for _, e := range extents {
			if e.Committed < 0 && e.End > e.Start {
				open++
			}
		}
		if err == nil && open == 0 {
			return nil
		}
		if sleep(waiting, 100*time.Millisecond) != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			r.cluster.find(Finding{What: fmt.Sprintf("after %q the workers' group has no offset in %d partitions, error: %v", in, open, err), At: time.Now()})
			return nil
		}
	}
}

// resetRecorders takes from the recorders what they know of their place, or puts them back.
func (r *run) resetRecorders(ctx context.Context, in Incident) error {
	c := r.cluster
	if err := r.empty(ctx, recorder, false); err != nil {
		return err
	}
	if in.Kind == Forget {
		if err := r.op.DeleteGroup(ctx, c.cfg.Recorder.Group); err != nil {
			return err
		}
	} else if err := r.rewind(ctx, in); err != nil {
		return err
	}
	return r.startAndHear(ctx, in, recorder, demand{words: looksFor, level: zerolog.InfoLevel})
}

func (r *run) rewind(ctx context.Context, in Incident) error {
	group := r.cluster.cfg.Recorder.Group
	for _, topic := range []string{r.cluster.topicOf(observations), r.cluster.topicOf(deadLetters)} {
		if in.How == byCommand {
			if _, err := operate.SetOffsets(ctx, r.cluster.cfg, group, topic, -1, toEarliest); err != nil {
				return err
			}
			continue
		}
		extents, err := r.op.Extents(ctx, group, topic)
		if err != nil {
			return err
		}
		offsets := map[int32]int64{}
		for partition, e := range extents {
			offsets[partition] = e.Start
			if in.How == backwards && e.Committed > e.Start {
				offsets[partition] = e.Committed - int64(in.Dice*float64(e.Committed-e.Start))
			}
		}
		if err := r.op.Commit(ctx, group, topic, offsets); err != nil {
			return err
		}
	}
	return nil
}

// joinRenamed renames a group as a rolling update does: one more of the role has the new
// name while the others have the old one. That must be refused.
func (r *run) joinRenamed(ctx context.Context, in Incident, group string, words *regexp.Regexp) error {
	c, joiner := r.cluster, []string{extra(in.Target)}
	since := c.mark()
	c.set(joiner, in.Target+".group", group)
	if err := c.startAll(ctx, joiner); err != nil {
		return err
	}
	if _, err := c.hear(ctx, in, since, demand{of: joiner, words: words, level: zerolog.WarnLevel, refuses: true}); err != nil {
		return err
	}
	c.stopAll(ctx, joiner, true)
	c.set(joiner, in.Target+".group", c.group(in.Target))
	return nil
}

// renameRecorders renames them, which must be refused while the old ones run.
func (r *run) renameRecorders(ctx context.Context, in Incident) error {
	group := r.cluster.cfg.Recorder.Group + "-renamed"
	if err := r.joinRenamed(ctx, in, group, oldOneFirst); err != nil {
		return err
	}
	if err := r.empty(ctx, recorder, false); err != nil {
		return err
	}
	r.cluster.rename(recorder, group)
	return r.startAndHear(ctx, in, recorder, demand{words: looksFor, level: zerolog.InfoLevel})
}

// makeAgain deletes a topic and makes it again; what it held is kept for the verdict.
func (r *run) makeAgain(ctx context.Context, in Incident) error {
	topic := r.cluster.topicOf(in.Target)
	if err := r.kept.read(ctx, r.op, r.cluster.cfg, topic, r.unreadable); err != nil {
		return err
	}
	deleting, cancel := context.WithTimeout(ctx, oneStep)
	defer cancel()
	if err := r.op.DeleteTopic(deleting, topic); err != nil {
		return err
	}
	_, err := operate.ApplyTopics(ctx, r.cluster.cfg)
	return err
}

// moveClock lets ClickHouse's clock be an hour ahead while the recorders announce and send
// inserts, kills them when inserts are under way, and lets these arrive when the clock is
// right again, before or after others have taken over.
func (r *run) moveClock(ctx context.Context, in Incident) (err error) {
	c, recorders := r.cluster, r.topology.members(recorder)
	clock, err := newSkew(c.cfg.ClickHouse.Addr[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clock.Close()) }()
	defer c.retarget(c.cfg.ClickHouse.Addr[0])
	clock.Set(time.Hour)
	c.retarget(clock.Addr())
	if err := sleep(ctx, time.Duration(2*float64(time.Second)*in.Dice)); err != nil {
		return err
	}
	held, waiting := clock.Hold(), time.NewTimer(oneStep)
	defer waiting.Stop()
	select {
	case <-held:
	case <-waiting.C:
		c.find(Finding{What: fmt.Sprintf("after %q no recorder has sent an insert for %s", in, oneStep), At: time.Now()})
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, name := range recorders {
		if err := c.roles[name].Kill(ctx); err != nil {
			return err
		}
	}
	clock.Set(0)
	if clock.Pass(); in.Dice < 0.5 {
		clock.Release()
	}
	since := c.mark()
	if err := c.startAll(ctx, recorders); err != nil {
		return err
	}
	if _, err := c.hear(ctx, in, since, demand{of: recorders, words: wrongClock, level: zerolog.WarnLevel, refuses: true}); err != nil {
		return err
	}
	clock.Release()
	return r.recovered(ctx, in)
}

// losePower takes the newest parts of ClickHouse's tables away, of which the recorders must
// notice.
func (r *run) losePower(ctx context.Context, in Incident) error {
	since := r.cluster.mark()
	rows, err := r.cluster.loseParts(ctx, 1+int(3*in.Dice))
	if err != nil {
		return err
	}
	if err := r.cluster.clickHouse.Start(ctx); err != nil || rows == 0 {
		return err
	}
	recorders := r.topology.members(recorder)
	said, err := r.cluster.hear(ctx, in, since, demand{of: recorders, words: restores, level: zerolog.WarnLevel})
	if err != nil || said == "" {
		return err
	}
	// Rows come first, and the minutes that follow from them later: to verify before is too early.
	_, err = r.cluster.hear(ctx, in, r.cluster.mark(), demand{of: recorders, words: restored, level: zerolog.InfoLevel, within: 2 * time.Minute})
	return err
}

// poison puts a record batch into a topic that inflates to more than is taken.
func (r *run) poison(ctx context.Context, in Incident) error {
	const policy = "consumers.unreadable"
	c, role := r.cluster, worker
	if in.Target == observations {
		role = recorder
	}
	names, topic := r.topology.members(role), c.topicOf(in.Target)
	if in.How == skipped {
		if err := r.empty(ctx, role, false); err != nil {
			return err
		}
		c.set(names, policy, "skip")
		if err := c.startAll(ctx, names); err != nil {
			return r.cannotStart(ctx, in, names, policy, err)
		}
		if err := r.recovered(ctx, in); err != nil {
			return err
		}
	}
	extents, err := r.op.Extents(ctx, "", topic)
	if err != nil {
		return err
	}
	since := c.mark()
	batch, err := r.op.Bomb(ctx, topic, int32(in.Dice*float64(len(extents))))
	if err != nil {
		return err
	}
	r.unreadable = append(r.unreadable, batch)
	if in.How == skipped {
		r.skipped = append(r.skipped, batch)
		if _, err := c.hear(ctx, in, since, demand{of: names, words: wasSkipped, level: zerolog.WarnLevel}); err != nil {
			return err
		}
		c.set(names, policy, "")
		if err := r.empty(ctx, role, false); err != nil {
			return err
		}
		if err := c.startAll(ctx, names); err != nil {
			return err
		}
		return r.recovered(ctx, in)
	}
	said, err := c.hear(ctx, in, since, demand{of: names, words: cannotRead, level: zerolog.WarnLevel, refuses: true, lives: true})
	if err != nil || said == "" { // who has not stopped there is not set there
		return err
	}
	if err := r.othersGoOn(ctx, in, c.group(role), batch); err != nil {
		return err
	}
	if err := r.empty(ctx, role, true); err != nil {
		return err
	}
	if err := r.passOver(ctx, in, batch, said); err != nil {
		return err
	}
	if err := c.startAll(ctx, names); err != nil {
		return err
	}
	return r.recovered(ctx, in)
}

// offsetsSet is the command that messages prescribe.
var offsetsSet = regexp.MustCompile(`millrace offsets set --group (\S+) --topic ([^ :]+):(\d+) --to (\d+)`)

// passOver sets the offset of a group behind a batch, by the command that the role has said.
func (r *run) passOver(ctx context.Context, in Incident, batch kafkatest.Batch, said string) error {
	command := offsetsSet.FindStringSubmatch(said)
	if command == nil {
		r.cluster.find(Finding{What: fmt.Sprintf("after %q no command was said that goes on behind the batch: %s", in, said), At: time.Now()})
		return r.op.Commit(ctx, r.cluster.group(map[string]string{requests: worker, observations: recorder}[in.Target]), batch.Topic, map[int32]int64{batch.Partition: batch.Last + 1})
	}
	partition, err := strconv.ParseInt(command[3], 10, 32)
	if err != nil {
		return fmt.Errorf("run %q: %w", command[0], err)
	}
	_, err = operate.SetOffsets(ctx, r.cluster.cfg, command[1], command[2], int32(partition), command[4])
	return err
}

// othersGoOn waits until a group has come to the end of the other partitions of the topic, with
// all that is sent while the one of the batch stands still.
func (r *run) othersGoOn(ctx context.Context, in Incident, group string, batch kafkatest.Batch) error {
	select {
	case <-r.flowed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	ends, err := r.op.Extents(ctx, group, batch.Topic)
	if err != nil {
		return err
	}
	delete(ends, batch.Partition)
	waiting, cancel := context.WithTimeout(ctx, saidWithin)
	defer cancel()
	for {
		now, err := r.op.Extents(waiting, group, batch.Topic)
		behind := slices.DeleteFunc(slices.Sorted(maps.Keys(ends)), func(p int32) bool { return now[p].Committed >= ends[p].End || ends[p].End == ends[p].Start })
		if err == nil && len(behind) == 0 {
			return nil
		}
		if sleep(waiting, 100*time.Millisecond) != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			r.cluster.find(Finding{What: fmt.Sprintf("after %q partitions %v stand still too, error: %v", in, behind, err), At: time.Now()})
			return nil
		}
	}
}
