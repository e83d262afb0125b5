package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/pipeline/verify"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/store"
)

// keeper finds out when ClickHouse has lost rows that were committed as stored, and stores them
// again. A machine that loses power loses what had not reached its disk. So the keeper asks the
// servers when they were started, and how many parts they have set aside as broken.
//
// A power cut loses at most what was written within unsynced before it. A server that answers has
// not been cut off yet: what the group had committed unsynced ago is safe from any later cut.
// These offsets are noted in Kafka, with the time at which each server was started. When one was
// started anew, all that was committed behind the noted offsets is compared with the log. Where
// rows are missing there, or a server has set parts aside, which may be of any age, everything
// that the log holds is compared.
//
// It reads with clients of its own, and stores only what lies before the offset that the group
// has committed, under the lease of package verify. It is one goroutine, which ends with run's
// context.
type keeper struct {
	log      *consumers.Admin
	tables   *clickhouse.Client
	sources  verify.Sources
	with     verify.Repairing
	interval time.Duration
	logger   zerolog.Logger

	known   map[string]known // by address; nil before the first look
	offsets map[string]map[int32]int64
	samples []sample
	failing string
}

// keep starts the keeper of a recorder, until soft or the returned function ends it.
func keep(soft context.Context, env *role.Env, tables *clickhouse.Client, m *Metrics) (end func(), err error) {
	log, err := consumers.NewAdmin(env.Connection())
	if err != nil {
		return nil, err
	}
	with := verify.RepairingOf(env.Config, env.Memory)
	with.Connection = env.Kafka
	with.KeepDoubled = true // an operator decides
	with.Restored = func(table string, rows int) { m.restored.WithLabelValues(table).Add(float64(rows)) }
	k := &keeper{log: log, tables: tables, sources: verify.SourcesOf(env.Config, log, tables, env.Log), with: with, interval: env.Config.Recorder.VerifyInterval, logger: env.Log}
	ctx, stop := context.WithCancel(soft)
	ended := make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		k.run(ctx)
	}()
	return func() {
		stop()
		<-ended
		log.Close()
	}, nil
}

// known is what was seen of a server.
type known struct {
	Started int64  `json:"s"` // seconds since 1970
	Broken  uint64 `json:"b,omitempty"`
	uptime  time.Duration
}

// sample is what the group had committed at a time.
type sample struct {
	at      time.Time
	offsets map[string]map[int32]int64
}

const (
	// unsynced is the age from which on what was stored has reached the disk. Linux writes dirty
	// pages after 30 s, and looks for them every 5 s. A merge writes older rows anew, but the parts
	// that it has read are kept for 8 minutes (old_parts_lifetime): a power cut before that leaves
	// them, and one after it finds the new part on the disk.
	unsynced = 10 * time.Minute
	// sampleEvery is the least time between two samples of the committed offsets.
	sampleEvery = 30 * time.Second
	// startJitter is how far apart two readings of the same start can be.
	startJitter = 3 // seconds
)

// durableGroup names the consumer group whose offsets are the note.
func durableGroup(recorder string) string { return recorder + "-durable" }

func (k *keeper) run(ctx context.Context) {
	for {
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			if text := err.Error(); text != k.failing { // once, not at each try
				k.failing = text
				k.logger.Warn().Err(err).Msg("looking whether ClickHouse has lost rows failed; trying again")
			}
		} else {
			k.failing = ""
		}
		timer := time.NewTimer(k.interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// look asks the servers once, and restores what they may have lost.
func (k *keeper) look(ctx context.Context) error {
	servers, err := k.tables.Servers(ctx)
	if err != nil {
		return err
	}
	committed, err := k.log.Committed(ctx, k.sources.Group)
	if err != nil {
		return err
	}
	if k.known == nil {
		text, offsets, err := k.log.Noted(ctx, durableGroup(k.sources.Group), k.sources.Topics.Observations)
		if err != nil {
			return err
		}
		k.known, k.offsets = map[string]known{}, offsets
		if err := json.Unmarshal([]byte(text), &k.known); err != nil || text == "" {
			// The first time: nothing tells what was there before.
			k.known, k.offsets = map[string]known{}, committed
		}
	}
	restarted, broken := false, false
	for _, s := range servers {
		before, ok := k.known[s.Addr]
		if !ok {
			continue
		}
		if s.Uptime < before.uptime || s.Started.Unix() > before.Started+startJitter {
			restarted = true
			k.logger.Info().Str("addr", s.Addr).Time("started", s.Started).Msg("clickhouse was started anew: what was stored last is compared with the log")
		}
		if s.Broken > before.Broken {
			broken = true
			k.logger.Warn().Str("addr", s.Addr).Uint64("parts", s.Broken-before.Broken).
				Msg("clickhouse has set parts aside as broken (system.detached_parts): everything that the log holds is compared with the tables")
		}
	}
	if restarted || broken {
		// Where another group records, its keeper looks; this one will if they are its rows again.
		if other := (*verify.OwnedError)(nil); errors.As(verify.Owned(ctx, k.sources, store.New(k.tables, k.sources.Topics, k.with.Memory)), &other) {
			return nil
		}
		whole, err := k.restore(ctx, broken)
		if err != nil {
			return err
		}
		if whole {
			k.offsets = nil // what was stored again is as unsafe as what is new
		}
		k.samples = nil
	}
	return k.remember(ctx, servers, committed)
}

// restore compares what was stored lately with the log, and stores again what is missing. It
// tells whether everything was compared.
func (k *keeper) restore(ctx context.Context, whole bool) (bool, error) {
	for {
		o := verify.Options{Since: k.offsets}
		if whole {
			o.Since = nil
		}
		report, err := verify.Run(ctx, k.sources, o)
		if err != nil {
			return whole, err
		}
		if !report.Incomplete() {
			k.logger.Info().Bool("whole", whole).Int64("rows", report.Sum().Expected).Msg("what was stored is there")
			return whole, nil
		}
		sum := report.Sum()
		k.logger.Warn().Int64("rows", sum.Missing).Strs("first", report.First()).
			Msg("rows that were committed as stored are missing in ClickHouse; they are stored again")
		if report, err = verify.RunRepair(ctx, k.sources, o, k.with); err != nil {
			return whole, err
		}
		k.logger.Warn().Int64("rows", report.Repaired.Stored).Int64("minutes", report.Repaired.Minutes).Msg("missing rows are stored again")
		if whole {
			return true, nil
		}
		whole = true // what else may be missing
	}
}

// remember notes the offsets that are safe by now, and since when the servers run.
func (k *keeper) remember(ctx context.Context, servers []clickhouse.Server, committed map[string]map[int32]int64) error {
	now := time.Now()
	seen := make(map[string]known, len(servers))
	changed := false
	for _, s := range servers {
		before, ok := k.known[s.Addr]
		of := known{s.Started.Unix(), s.Broken, s.Uptime}
		if ok && of.Broken == before.Broken && of.Started <= before.Started+startJitter && of.Started >= before.Started-startJitter && before.uptime <= s.Uptime {
			of.Started = before.Started
		} else {
			changed = true
		}
		seen[s.Addr] = of
	}
	if n := len(k.samples); n == 0 || now.Sub(k.samples[n-1].at) >= sampleEvery {
		k.samples = append(k.samples, sample{now, committed})
	}
	for len(k.samples) > 0 && now.Sub(k.samples[0].at) >= unsynced {
		k.offsets, k.samples, changed = k.samples[0].offsets, k.samples[1:], true
	}
	if changed {
		text, err := json.Marshal(seen)
		if err != nil {
			return err
		}
		// What was noted of a partition before must not stand where nothing is safe now.
		note := map[string]map[int32]int64{k.sources.Topics.Observations: {0: 0}}
		for topic, partitions := range committed {
			if note[topic] == nil {
				note[topic] = map[int32]int64{}
			}
			for p := range partitions {
				note[topic][p] = 0
			}
		}
		for topic, partitions := range k.offsets {
			if note[topic] == nil {
				note[topic] = map[int32]int64{}
			}
			maps.Copy(note[topic], partitions)
		}
		if err := k.log.Note(ctx, durableGroup(k.sources.Group), string(text), note); err != nil {
			return err
		}
	}
	k.known = maps.Clone(seen)
	return nil
}
