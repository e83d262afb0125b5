package compare

import (
	"slices"
	"strings"

	"github.com/millrace/millrace/drift/stattest"
)

// maxCategories is how many distinct texts are told apart: beyond, a column is an identifier
// or free text, and what is new counts as one category.
const maxCategories = 100_000

// texts collects the texts of one side of a column.
type texts struct {
	index   map[string]int32
	names   []string
	counts  []float64
	beyond  int64 // values of texts that were not told apart any more
	n       int64
	missing int64
	room    int64 // bytes that further texts may take
}

// textOverhead is about what a distinct text takes beside its bytes.
const textOverhead = 80

func newTexts(room int64) *texts { return &texts{index: map[string]int32{}, room: room} }

func (c *texts) add(text string) {
	c.n++
	if i, ok := c.index[text]; ok {
		c.counts[i]++
		return
	}
	if size := int64(len(text)) + textOverhead; len(c.names) == maxCategories || size > c.room {
		c.beyond++
		c.room = min(c.room, 0) // and none that is shorter: which are told apart is a matter of order alone
		return
	}
	c.room -= int64(len(text)) + textOverhead
	name := strings.Clone(text) // of a batch that goes
	c.index[name] = int32(len(c.names))
	c.names, c.counts = append(c.names, name), append(c.counts, 1)
}

// cramped tells whether texts were not told apart for want of memory.
func (c *texts) cramped() bool { return c.beyond > 0 && len(c.names) < maxCategories }

// other stands for what was not told apart, or is not shown.
const other = stattest.OtherCategory

// cells lines up both sides: the categories of either in ascending order, and the rows of
// each side.
func cells(reference, current *texts) (names []string, r, c []float64) {
	names = make([]string, 0, len(reference.names))
	names = append(names, reference.names...)
	for _, name := range current.names {
		if _, ok := reference.index[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	count := func(side *texts, name string) float64 {
		if i, ok := side.index[name]; ok {
			return side.counts[i]
		}
		return 0
	}
	for _, name := range names {
		r, c = append(r, count(reference, name)), append(c, count(current, name))
	}
	if reference.beyond+current.beyond > 0 {
		names = append(names, other)
		r, c = append(r, float64(reference.beyond)), append(c, float64(current.beyond))
	}
	return names, r, c
}
