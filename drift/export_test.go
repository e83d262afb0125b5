package drift

import "time"

// Watermark computes the watermark of partitions that have come to eventTimes and from
// which rows were last scored at scoredAt.
func Watermark(eventTimes, scoredAt []time.Time, now time.Time, idleTimeout, lateness time.Duration) time.Time {
	m := modelProgress{partitions: map[partition]progress{}}
	for i := range eventTimes {
		m.partitions[partition{"t", int32(i)}] = progress{eventTimes[i], scoredAt[i]}
	}
	return m.watermark(now, idleTimeout, lateness)
}

// LargestStep is largestStep.
var LargestStep = largestStep

// QualityFigure is qualityFigure.
var QualityFigure = qualityFigure
