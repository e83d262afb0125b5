package main

import (
	"fmt"
	"slices"

	"github.com/millrace/millrace/consumers/kafkatest"
)

// unreadableBatch is the class of the dead letter that stands for a whole record batch.
const unreadableBatch = "unreadable_batch"

// setAside takes the dead letters of record batches out of the evidence, and tells those that
// are missing or too many. One of a batch of requests is in the topic and in the table; a
// recorder stores its own in the table alone.
func (e *evidence) setAside(skipped []kafkatest.Batch, requestsTopic string) []Finding {
	var findings []Finding
	check := func(what string, entries []entry, due func(b kafkatest.Batch) bool) []entry {
		found := make([]int, len(skipped))
		entries = slices.DeleteFunc(slices.Clone(entries), func(x entry) bool {
			if x.class != unreadableBatch {
				return false
			}
			i := slices.IndexFunc(skipped, func(b kafkatest.Batch) bool { return b.Partition == x.request.partition && b.First == x.request.offset })
			if i < 0 || !due(skipped[i]) {
				findings = append(findings, Finding{What: fmt.Sprintf("needless %s of an unreadable batch at %s", what, x.request), At: x.at})
			} else {
				found[i]++
			}
			return true
		})
		for i, b := range skipped {
			if due(b) && found[i] != 1 {
				findings = append(findings, Finding{What: fmt.Sprintf("the unreadable batch of topic %s partition %d, offsets %d to %d, has %d instead of 1 %s", b.Topic, b.Partition, b.First, b.Last, found[i], what)})
			}
		}
		return entries
	}
	e.letters = check("dead letter", e.letters, func(b kafkatest.Batch) bool { return b.Topic == requestsTopic })
	e.letterRows = check("dead letter's row", e.letterRows, func(kafkatest.Batch) bool { return true })
	return findings
}
