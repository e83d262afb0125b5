package pipeline

import (
	"context"
)

func (a *App) runMonitor(soft, hard context.Context) error {
	producer, err := a.newProducer()
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := a.needTopics(soft, RoleMonitor, nil); err != nil {
		return orderly(soft, err)
	}
	a.ready.set(string(RoleMonitor), "")
	return a.runAlerts(soft, producer)
}
