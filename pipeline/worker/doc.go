// Package worker answers requests. consumers.Lane polls, a laneHandler decodes, scores and encodes,
// and by default one Kafka transaction carries results, observations, dead letters and offsets. A
// starter says where partitions begin that the group has no offset of; repeats knows the requests
// that a producer has sent again.
package worker
