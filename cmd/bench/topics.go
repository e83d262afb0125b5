package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/schemas"
)

// cluster is the Kafka of the measurement, as its watcher sees it.
type cluster struct {
	addrs  []string
	admin  *kadm.Client
	reader *consumers.Admin
}

// openCluster connects. Close it.
func openCluster(addrs []string) (*cluster, error) {
	conn := connection(addrs, "bench")
	cl, err := conn.Dial()
	if err != nil {
		return nil, fmt.Errorf("open a Kafka client: %w", err)
	}
	reader, err := consumers.NewAdmin(conn)
	if err != nil {
		cl.Close()
		return nil, err
	}
	return &cluster{addrs: addrs, admin: kadm.NewClient(cl), reader: reader}, nil
}

func (k *cluster) close() {
	k.reader.Close()
	k.admin.Close()
}

// committed returns how many records of a topic that began at offset 0 a group has answered.
func (k *cluster) committed(ctx context.Context, group, topic string) (int64, error) {
	offsets, err := k.admin.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return 0, nil // nobody has joined yet
	}
	if err != nil {
		return 0, fmt.Errorf("read the offsets of group %s: %w", group, err)
	}
	total := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == topic && o.Err == nil {
			total += max(0, o.At)
		}
	})
	return total, nil
}

// end returns the sum of a topic's end offsets.
func (k *cluster) end(ctx context.Context, topic string) (int64, error) {
	ends, err := k.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("read the end of topic %s: %w", topic, err)
	}
	total := int64(0)
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	return total, nil
}

// stored returns the bytes that the brokers hold of a topic: compressed, and per replica.
func (k *cluster) stored(ctx context.Context, topic string) (int64, error) {
	dirs, err := k.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("read the size of topic %s: %w", topic, err)
	}
	total := int64(0)
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == topic {
				total += p.Size
			}
		})
	})
	return total, nil
}

// drop deletes topics, so that the disk holds one run and not all.
func (k *cluster) drop(ctx context.Context, topics ...string) error {
	if _, err := k.admin.DeleteTopics(ctx, topics...); err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	return nil
}

// produced is what a run has left in its topics, as a read_committed reader sees it.
type produced struct {
	results, observations, deadLetters int64 // records, rows, records
	resultBytes, observationBytes      int64 // of values
	observationRecords                 int64
	observationMarkers                 int64 // ends of transactions, on the observations' only partition
	distinct                           bool  // no key of a result stands twice
	sample                             sample
}

// shape is the form of a run's requests and of what came of them, in bytes per row.
type shape struct {
	request, result, observation float64 // values
	storedIn, storedOut          float64 // as the brokers hold requests, and results with observations
}

// shape measures the topics of a run.
func (k *cluster) shape(ctx context.Context, t schemas.Topics, rows, requestBytes int64, p *produced) (shape, error) {
	per := func(bytes int64) float64 { return float64(bytes) / float64(rows) }
	s := shape{request: per(requestBytes), result: per(p.resultBytes), observation: per(p.observationBytes)}
	for topic, sum := range map[string]*float64{
		t.RequestsOf(modelName): &s.storedIn, t.ResultsOf(modelName): &s.storedOut, t.Observations: &s.storedOut,
	} {
		stored, err := k.stored(ctx, topic)
		if err != nil {
			return s, err
		}
		*sum += per(stored)
	}
	return s, nil
}

// sampled is how many results a sample has.
const sampled = 1024

// survey reads all that a run has produced. total is how many results there should be.
func (k *cluster) survey(ctx context.Context, t schemas.Topics, total int64) (produced, error) {
	p := produced{distinct: true}
	seen := make([]bool, total)
	err := k.reader.Read(ctx, t.ResultsOf(modelName), func(rec *schemas.Record) error {
		p.results++
		p.resultBytes += int64(len(rec.Value))
		if len(p.sample.Results) < sampled {
			p.sample.Results = append(p.sample.Results, bytes.Clone(rec.Value))
		}
		if seq := sequence(rec.Key); seq < 0 || seq >= total || seen[seq] {
			p.distinct = false
		} else {
			seen[seq] = true
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	err = k.reader.Read(ctx, t.Observations, func(rec *schemas.Record) error {
		header, _ := rec.Header(schemas.HeaderRows)
		rows, err := strconv.ParseInt(string(header), 10, 64)
		if err != nil {
			return fmt.Errorf("an observation record without its number of rows: %w", err)
		}
		p.observationRecords++
		p.observations += rows
		p.observationBytes += int64(len(rec.Value))
		if rows > p.sample.ObservationRows {
			p.sample.Observation, p.sample.ObservationRows = append(p.sample.Observation[:0], rec.Value...), rows
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	end, err := k.end(ctx, t.Observations)
	if err != nil {
		return p, err
	}
	p.observationMarkers = end - p.observationRecords // that have an offset, and are no records
	err = k.reader.Read(ctx, t.DeadLetters, func(*schemas.Record) error {
		p.deadLetters++
		return nil
	})
	return p, err
}

// check tells whether every one of the requests has one result and rows observations.
func (p *produced) check(requests, rows int64) error {
	if p.results != requests || !p.distinct || p.observations != rows || p.deadLetters != 0 {
		return fmt.Errorf("%d requests of %d rows have %d results (each once: %t), %d observations and %d dead letters",
			requests, rows, p.results, p.distinct, p.observations, p.deadLetters)
	}
	return nil
}

// applyTopics makes the topics of a configuration.
func applyTopics(ctx context.Context, set []string) (config.Config, error) {
	cfg, err := config.Load("", nil, set)
	if err != nil {
		return cfg, err
	}
	_, err = operate.ApplyTopics(ctx, cfg)
	return cfg, err
}

// topicsOf lists the topics that only one run uses.
func topicsOf(t schemas.Topics) []string {
	return []string{t.RequestsOf(modelName), t.ResultsOf(modelName), t.Observations, t.DeadLetters}
}
