package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile returns the least value that at least the share q of the sorted values does not
// exceed: the nearest rank. There must be a value.
func quantile(sorted []int64, q float64) int64 {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median returns the value whose key is the middle one; of an even number, the lower middle.
// There must be a value.
func median[T any, K cmp.Ordered](values []T, key func(T) K) T {
	sorted := slices.SortedStableFunc(slices.Values(values), func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return sorted[(len(sorted)-1)/2]
}
