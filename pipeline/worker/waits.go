package worker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/schemas"
)

// originOf returns how to tell which request a message of a lane answers. A result is of the
// partition of its number, and a dead letter says what it is of. An observation record holds rows of
// many partitions of one model.
func originOf(t schemas.Topics) func(m schemas.Message) (consumers.Source, bool) {
	return func(m schemas.Message) (consumers.Source, bool) {
		header := func(key string) string {
			for _, h := range m.Headers {
				if h.Key == key {
					return string(h.Value)
				}
			}
			return ""
		}
		switch m.Topic {
		case t.Observations:
			model := header(schemas.HeaderModel)
			return consumers.Source{Topic: t.RequestsOf(model), Partition: schemas.AnyPartition}, model != ""
		case t.DeadLetters:
			partition, err := strconv.ParseInt(header(schemas.HeaderPartition), 10, 32)
			topic := header(schemas.HeaderTopic)
			return consumers.Source{Topic: topic, Partition: int32(partition)}, err == nil && topic != ""
		}
		model, ok := strings.CutPrefix(m.Topic, t.Results)
		return consumers.Source{Topic: t.RequestsOf(model), Partition: m.Partition, SamePartition: true}, ok
	}
}

// waits tells which partitions of a lane wait, and for what.
func (r *roster) waits(lane int, awaited []consumers.Awaited) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaited[lane] = awaited
	r.tellWaits()
}

// tellWaits tells readiness and the metrics of all partitions that wait. The caller holds mu.
func (r *roster) tellWaits() {
	type waiting struct{ model, topic, reason string }
	partitions := map[waiting][]int32{}
	for _, of := range r.awaited {
		for _, a := range of {
			model, _ := r.env.Config.Topics.ModelOf(a.Requests)
			w := waiting{model, a.Topic, a.Reason}
			partitions[w] = append(partitions[w], a.Partitions...)
		}
	}
	texts := map[string][]string{}
	r.parts.metrics.waiting.Reset()
	for _, w := range slices.SortedFunc(maps.Keys(partitions), func(a, b waiting) int {
		return cmp.Or(cmp.Compare(a.model, b.model), cmp.Compare(a.topic, b.topic), cmp.Compare(a.reason, b.reason))
	}) {
		of := partitions[w]
		slices.Sort(of)
		texts[w.model] = append(texts[w.model], fmt.Sprintf("partitions %v of topic %s wait: %s", of, r.env.Config.Topics.RequestsOf(w.model), w.reason))
		r.parts.metrics.waiting.WithLabelValues(w.model, w.topic).Add(float64(len(of)))
	}
	for model := range r.unready {
		if texts[model] == nil && r.told[model] == "" { // else it is failed, and says so itself
			r.env.Ready.Set(partOf(model), "")
		}
	}
	clear(r.unready)
	for model, text := range texts {
		r.unready[model] = true
		if r.told[model] == "" {
			r.env.Ready.Set(partOf(model), strings.Join(text, "; "))
		}
	}
}
