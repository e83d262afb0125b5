package compare

import (
	"slices"
	"strings"
	"unicode/utf8"

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

	most int     // rows whose order is remembered; 0: it is not wanted, or was lost
	rows []int32 // the index of each row's text in names; -1: beyond
}

// textOverhead is about what a distinct text takes beside its bytes.
const textOverhead = 80

// newTexts returns texts, which remember the order of rows where that is wanted.
func newTexts(room int64, ordered bool) *texts {
	t := &texts{index: map[string]int32{}, room: room}
	if ordered {
		t.most = int(room / 8) // half of the room, at 4 bytes a row
	}
	return t
}

func (c *texts) add(text string) {
	c.n++
	if i, ok := c.index[text]; ok {
		c.counts[i]++
		c.keep(i)
		return
	}
	if size := int64(len(text)) + textOverhead; len(c.names) == maxCategories || size > c.room {
		c.beyond++
		c.room = min(c.room, 0) // and none that is shorter: which are told apart is a matter of order alone
		c.keep(-1)
		return
	}
	c.room -= int64(len(text)) + textOverhead
	name := strings.Clone(text) // of a batch that goes
	c.index[name] = int32(len(c.names))
	c.keep(int32(len(c.names)))
	c.names, c.counts = append(c.names, name), append(c.counts, 1)
}

// keep remembers the order of rows, of so many as are wanted, or of none.
func (c *texts) keep(i int32) {
	if c.most == 0 {
		return
	}
	if len(c.rows) == c.most {
		c.most, c.rows = 0, nil
		return
	}
	c.rows = append(c.rows, i)
}

// chunks counts the rows of consecutive parts by the categories that are named, the last of
// which may stand for all others; none where the order was lost.
func (c *texts) chunks(parts int, names []string) [][]float64 {
	if c.most == 0 || len(c.rows) < parts {
		return nil
	}
	to := make([]int, len(c.names)+1) // the cell of each text, the last one for what is beyond
	for i := range to {
		to[i] = len(names) - 1
	}
	for cell, name := range names {
		if i, ok := c.index[name]; ok {
			to[i] = cell
		}
	}
	out := make([][]float64, parts)
	for k := range out {
		out[k] = make([]float64, len(names))
		for _, i := range c.rows[k*len(c.rows)/parts : (k+1)*len(c.rows)/parts] {
			if i < 0 {
				i = int32(len(c.names))
			}
			out[k][to[i]]++
		}
	}
	return out
}

// notUTF8 counts the texts that are none.
func (c *texts) notUTF8() (n int) {
	for _, name := range c.names {
		if !utf8.ValidString(name) {
			n++
		}
	}
	return n
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
