namespace SensorForwarder.Sensors;

/// <summary>
/// The only thread that uses a bus, so that a hanging bus blocks nothing else. Jobs run one at a time, in order. The
/// thread ends after some idle time and is started again when needed. Thread-safe.
/// </summary>
internal sealed class BusWorker(string name, TimeProvider timeProvider)
{
    static readonly TimeSpan IdleThreadEnds = TimeSpan.FromMinutes(1);

    readonly object _gate = new();
    readonly Queue<Job> _jobs = new();
    bool _hasThread;
    Job? _current;

    public BusBreaker Breaker { get; } = new(timeProvider);

    /// <summary>Measures on the bus.</summary>
    /// <param name="measure">May block.</param>
    /// <param name="timeout">The limit from the start of the job; waiting for other jobs does not count.</param>
    /// <param name="cancellationToken">Ends the wait; a job that has started continues.</param>
    /// <returns>Bad with <see cref="FaultReason.Timeout"/> if the job took too long, and with
    /// <see cref="FaultReason.BusTimeout"/> if another job held the bus for that long.</returns>
    public async Task<Measurement> RunAsync(
        Func<Measurement> measure, TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (IsStuck(timeout)) return Stuck();
        var job = new Job(measure, timeProvider);
        Post(job);
        while (true)
        {
            var patience = job.Started is { } started ? timeout - timeProvider.GetElapsedTime(started) : timeout;
            try
            {
                if (patience > TimeSpan.Zero)
                    return await job.Done.Task.WaitAsync(patience, timeProvider, cancellationToken);
                if (!job.Done.Task.IsCompleted)
                    return Measurement.Bad(FaultReason.Timeout, $"no answer for {timeout.TotalSeconds:0} s");
                return await job.Done.Task;
            }
            catch (TimeoutException)
            {
                if (IsStuck(timeout) && job.TryAbandon()) return Stuck();
            }
            catch (OperationCanceledException)
            {
                job.TryAbandon();
                throw;
            }
        }
    }

    /// <summary>Queues a job without waiting for its result.</summary>
    public void Post(Action action) => Post(new Job(
        () =>
        {
            action();
            return default;
        },
        timeProvider));

    void Post(Job job)
    {
        lock (_gate)
        {
            _jobs.Enqueue(job);
            Monitor.Pulse(_gate);
            if (_hasThread) return;
            _hasThread = true;
        }

        try
        {
            new Thread(() => Work(IdleThreadEnds)) { IsBackground = true, Name = name }.Start();
        }
        catch (Exception exception) when (exception is OutOfMemoryException or ThreadStartException)
        {
            // The process may not be able to start a thread (PidsLimit). A thread of the pool runs the queued jobs.
            ThreadPool.UnsafeQueueUserWorkItem(_ => Work(TimeSpan.Zero), null);
        }
    }

    void Work(TimeSpan idleEnds)
    {
        while (true)
        {
            Job job;
            lock (_gate)
            {
                _current = null;
                if (_jobs.Count == 0) Monitor.Wait(_gate, idleEnds);
                if (_jobs.Count == 0)
                {
                    _hasThread = false;
                    return;
                }

                job = _jobs.Dequeue();
                if (!job.TryStart()) continue;
                _current = job;
            }

            job.Run();
        }
    }

    bool IsStuck(TimeSpan timeout)
    {
        lock (_gate) return _current?.Started is { } started && timeProvider.GetElapsedTime(started) >= timeout;
    }

    Measurement Stuck() => Measurement.Bad(FaultReason.BusTimeout, $"{name} is held by a device that does not answer");

    sealed class Job(Func<Measurement> measure, TimeProvider timeProvider)
    {
        const int Waiting = 0, Begun = 1, Abandoned = 2;

        int _state;
        long _started;

        public TaskCompletionSource<Measurement> Done { get; } = new(
            TaskCreationOptions.RunContinuationsAsynchronously);

        public long? Started => Volatile.Read(ref _state) == Begun ? Volatile.Read(ref _started) : null;

        public bool TryAbandon() => Interlocked.CompareExchange(ref _state, Abandoned, Waiting) == Waiting;

        public bool TryStart()
        {
            Volatile.Write(ref _started, timeProvider.GetTimestamp());
            return Interlocked.CompareExchange(ref _state, Begun, Waiting) == Waiting;
        }

        public void Run()
        {
            try
            {
                Done.SetResult(measure());
            }
            catch (Exception exception)
            {
                Done.SetException(exception);
            }
        }
    }
}
