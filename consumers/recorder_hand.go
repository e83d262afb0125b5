package consumers

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// hand is what has been read and is stored together.
type hand struct {
	in    converter
	ends  map[topicPartition]kgo.EpochOffset // behind the last record, with its epoch
	rows  map[string]*handRows               // by topic
	bytes int
	most  int       // bytes of the largest record of this hand and of earlier ones
	since time.Time // of the first record
}

// handRows are the rows of one topic.
type handRows struct {
	n    int
	most int // rows of the largest record of this hand and of earlier ones
}

// newHand returns an empty hand; untimed is that of a converter.
func newHand(untimed func(topic string)) *hand {
	return &hand{in: converter{untimed: untimed}, ends: map[topicPartition]kgo.EpochOffset{}, rows: map[string]*handRows{}, most: 1}
}

func (h *hand) reset() {
	h.in.reset()
	clear(h.ends)
	for _, r := range h.rows {
		r.n = 0
	}
	h.bytes = 0
}

// add takes what was fetched.
func (h *hand) add(fetches kgo.Fetches) {
	from, now := len(h.in.records), time.Now()
	h.in.add(fetches, now)
	if from == 0 && len(h.in.records) > 0 {
		h.since = now
	}
	for i := from; i < len(h.in.records); i++ {
		rec := &h.in.records[i]
		of := h.rows[rec.Topic]
		if of == nil {
			of = &handRows{}
			h.rows[rec.Topic] = of
		}
		n := recordRows(rec)
		of.n += n
		of.most = max(of.most, n)
		size := recordOverhead + len(rec.Value) + len(rec.Key)
		for _, h := range rec.Headers {
			size += len(h.Key) + len(h.Value)
		}
		h.bytes += size
		h.most = max(h.most, size)
	}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			tp, last := topicPartition{p.Topic, p.Partition}, p.Records[n-1]
			if last.Offset >= h.ends[tp].Offset {
				h.ends[tp] = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
			}
		}
	})
}

func recordRows(rec *schemas.Record) int {
	if h, ok := rec.Header(schemas.HeaderRows); ok {
		if n, err := strconv.Atoi(string(h)); err == nil && n > 0 {
			return n
		}
	}
	return 1
}
