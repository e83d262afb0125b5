// Package operate is what the commands of an operator call: topics, models, requests, offsets, dead
// letters, parked events, verification and comparison. Each function is one command, and takes the
// configuration.
package operate
