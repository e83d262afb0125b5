//go:build !race

package stattest_test

const raceEnabled = false
