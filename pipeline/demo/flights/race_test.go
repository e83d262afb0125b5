//go:build race

package flights_test

const raceEnabled = true
