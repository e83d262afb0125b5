//go:build !race

package flights_test

const raceEnabled = false
