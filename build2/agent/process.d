build2/agent/process.o: agent/process.c agent/process.h
agent/process.h:
