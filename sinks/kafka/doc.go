// Package kafka writes to Kafka what is not part of a lane's transaction: a Producer sends single
// messages, such as events, and a Transactor several at once, such as replayed requests with the
// marks of their replay. Results, observations and dead letters leave by consumers.Publisher.
package kafka
