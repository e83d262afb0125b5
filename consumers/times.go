package consumers

import "time"

// The times that a record can have, in nanoseconds since 1970: up to 2200-01-01.
const maxRecordNanos = 7_258_118_400_000_000_000

// usableTime tells whether a time that the client gives is the one that the record bears, and of the
// years 1970 to 2199.
//
// The client multiplies milliseconds by a million in 64 bits, and what does not fit wraps: nanoseconds
// that were sent as milliseconds come as any day of our time, the year 2300 comes as 1715, and -1, which
// is no time, as 1969. All the same the product tells what it was made of. One of a raw value of these
// years does not wrap: it is of these years and a whole number of milliseconds. A product that has
// wrapped is both only where the raw value is such a time plus a multiple of 2^58: a million is 2^6
// times 15625, which has an inverse modulo 2^58. That, and no other, is taken for the time that it is
// not. Seconds and microseconds in place of milliseconds are never so large. Nanoseconds are for two
// hours every 2^58 of them, which are nine years and seven weeks: they were on 2024-10-19 from 23:57:36
// UTC on, and will be on 2033-12-07 from 23:57:13 on.
//
// The start of 1970 is no usable time: a time that was left out is 0 in many languages, and the least
// integer, which means the same in some, wraps to it. A record of the oldest message format has no
// time, and comes as of the year 1.
func usableTime(t time.Time) bool {
	ns := t.UnixNano() // wraps back, whatever the year
	return ns > 0 && ns < maxRecordNanos && ns%int64(time.Millisecond) == 0
}

// usableMillis is usableTime for a raw value.
func usableMillis(ms int64) bool { return ms > 0 && ms < maxRecordNanos/int64(time.Millisecond) }
