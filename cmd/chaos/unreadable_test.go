package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/consumers/kafkatest"
)

// TestUnreadableBatchesAreCounted: each batch that was passed over has one dead letter.
func TestUnreadableBatchesAreCounted(t *testing.T) {
	skipped := []kafkatest.Batch{{Topic: "r", Partition: 1, First: 10, Last: 26}, {Topic: "o", First: 5, Last: 21}}
	letter := func(partition int32, offset int64) entry {
		return entry{class: unreadableBatch, request: place{partition, offset}}
	}
	other := entry{id: "r20", class: "malformed"}
	for name, tc := range map[string]struct {
		letters, rows []entry
		want          []string
	}{
		"all is well": {[]entry{other, letter(1, 10)}, []entry{letter(1, 10), letter(0, 5), other}, nil},
		"none": {[]entry{other}, []entry{other}, []string{
			"the unreadable batch of topic r partition 1, offsets 10 to 26, has 0 instead of 1 dead letter",
			"the unreadable batch of topic r partition 1, offsets 10 to 26, has 0 instead of 1 dead letter's row",
			"the unreadable batch of topic o partition 0, offsets 5 to 21, has 0 instead of 1 dead letter's row",
		}},
		"a row twice": {[]entry{letter(1, 10)}, []entry{letter(1, 10), letter(0, 5), letter(0, 5)}, []string{
			"the unreadable batch of topic o partition 0, offsets 5 to 21, has 2 instead of 1 dead letter's row",
		}},
		"of a batch that can be read": {[]entry{letter(1, 10), letter(1, 27)}, []entry{letter(1, 10), letter(0, 5)}, []string{
			"needless dead letter of an unreadable batch at 1/27",
		}},
		"a recorder produces one": {[]entry{letter(1, 10), letter(0, 5)}, []entry{letter(1, 10), letter(0, 5)}, []string{
			"needless dead letter of an unreadable batch at 0/5",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &evidence{letters: tc.letters, letterRows: tc.rows}
			var tells []string
			for _, f := range e.setAside(skipped, "r") {
				tells = append(tells, f.What)
			}
			require.Equal(t, tc.want, tells)
			for _, rest := range [][]entry{e.letters, e.letterRows} {
				for _, x := range rest {
					require.Equal(t, other, x, "the others stay")
				}
			}
		})
	}
}
