#!/bin/sh
# Starts a Redis server (`start.sh server`) or a sentinel beside it (`start.sh sentinel`). A server follows the primary that the sentinels
# name, and the first one is the primary as long as none of them names another. HOSTNAME and the headless Service `redis` give the names.
set -eu
me="$HOSTNAME.redis"
password=$(cat /etc/redis-secret/password)
first=redis-0.redis

look() {  # the primary by the word of the first sentinel that answers, and whether any of them knows replicas
    primary="" replicas=0
    for host in redis-0.redis redis-1.redis redis-2.redis; do
        answer=$(REDISCLI_AUTH=$password timeout 2 redis-cli -h "$host" -p 26379 --no-auth-warning sentinel master orders 2>/dev/null) || continue
        name=$(echo "$answer" | sed -n '/^ip$/{n;p;q;}')
        known=$(echo "$answer" | sed -n '/^num-slaves$/{n;p;q;}')
        case $name in redis-*) primary=${primary:-$name} ;; *) continue ;; esac
        if [ "$known" != 0 ]; then replicas=$known; fi
    done
}

umask 077
look
# A primary that starts without its data would empty its replicas, and a sentinel that knows no replica would fail to make one of them
# the primary. Both wait until the other sentinels have done so. Before there was any data, they know no replica either.
case $1 in server) kept=/data/appendonlydir ;; sentinel) kept=/data/sentinel.conf ;; esac
tries=120
while [ "$primary" = "$me" ] && [ "$replicas" != 0 ] && [ ! -e $kept ] && [ $tries -gt 0 ]; do
    tries=$((tries - 1))
    sleep 1
    look
done
case $1 in
server)
    {
        echo "requirepass $password"
        echo "masterauth $password"
        echo "replica-announce-ip $me"
        echo "maxmemory-policy noeviction"
        echo 'save ""'
        echo "appendonly yes"  # outlives a restart of the container, not of the pod
        echo "dir /data"
        # A primary that lost its replicas takes no writes: they would be lost with it.
        echo "min-replicas-to-write 1"
        if [ "${primary:-$first}" != "$me" ]; then echo "replicaof ${primary:-$first} 6379"; fi
    } > /data/redis.conf
    exec redis-server /data/redis.conf
    ;;
sentinel)
    # Sentinels write what they learn into this file.
    [ -e /data/sentinel.conf ] || {
        echo "port 26379"
        echo "dir /data"
        echo "requirepass $password"
        echo "sentinel resolve-hostnames yes"
        echo "sentinel announce-hostnames yes"
        echo "sentinel announce-ip $me"
        echo "sentinel monitor orders ${primary:-$first} 6379 2"
        echo "sentinel auth-pass orders $password"
        echo "sentinel sentinel-pass $password"
        echo "sentinel down-after-milliseconds orders 5000"
        echo "sentinel failover-timeout orders 10000"
    } > /data/sentinel.conf
    exec redis-server /data/sentinel.conf --sentinel
    ;;
esac
