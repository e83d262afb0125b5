package profile

import (
	"cmp"
	"slices"
)

const (
	// keptUnseen is how many unlisted categories of a column are counted after those that are rare
	// were thrown out, which is done when there are twice as many.
	keptUnseen = 128
	// maxUnseenBytes is how long an unlisted category may be to be named.
	maxUnseenBytes = 256
	unseenBytes    = 64 // that one takes beside its text, about
)

// unseen counts unlisted categories: a mergeable Misra-Gries summary (Agarwal et al., Mergeable
// Summaries, 2012). Counts are exact while there are at most 2·keptUnseen of them, of any batches in
// any order; else too low, each by at most a 129th of all.
type unseen map[string]uint64

// add counts rows of a text, and returns by how many bytes the summary grew.
func (u unseen) add(text []byte, rows uint64) (bytes int) {
	if len(text) > maxUnseenBytes {
		return 0
	}
	if n, ok := u[string(text)]; ok {
		u[string(text)] = n + rows
		return 0
	}
	u[string(text)] = rows
	bytes = len(text) + unseenBytes
	if len(u) > 2*keptUnseen {
		bytes -= u.prune()
	}
	return bytes
}

// prune takes the count of the most frequent category that is not kept from all, and returns how
// many bytes became free.
func (u unseen) prune() (bytes int) {
	counts := make([]uint64, 0, len(u))
	for _, n := range u {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	less := counts[len(counts)-1-keptUnseen]
	for text, n := range u {
		if n > less {
			u[text] = n - less
		} else {
			delete(u, text)
			bytes += len(text) + unseenBytes
		}
	}
	return bytes
}

// top returns the most frequent categories, at most MaxUnseen; of as frequent ones the first in
// byte order.
func (u unseen) top() map[string]uint64 {
	if len(u) == 0 {
		return nil
	}
	texts := make([]string, 0, len(u))
	for text := range u {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int { return cmp.Or(cmp.Compare(u[b], u[a]), cmp.Compare(a, b)) })
	out := make(map[string]uint64, MaxUnseen)
	for _, text := range texts[:min(len(texts), MaxUnseen)] {
		out[text] = u[text]
	}
	return out
}
