using Microsoft.Playwright;

namespace SensorForwarder.BrowserTests;

/// <summary>The module's page in a browser: content, live updates, outages, layout and accessibility.</summary>
public sealed class DashboardTests(Browser browser) : IAsyncLifetime
{
    World _world = null!;

    static JsonObject Settings => new()
    {
        ["batchSize"] = 20,
        ["uploadIntervalSeconds"] = 1,
        ["commitIntervalMs"] = 200,
        ["batchsize"] = 3,
        ["maxInFlightBatches"] = 900,
        ["sensors"] = new JsonObject
        {
            ["host"] = new JsonObject { ["kind"] = "host", ["intervalSeconds"] = 2 },
            ["attic"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.5, ["seed"] = 3, ["label"] = "Attic <b>north</b>" },
            ["cellar"] = new JsonObject { ["kind"] = "simulated", ["intervalSeconds"] = 0.5, ["seed"] = 9 },
            ["boiler"] = new JsonObject { ["kind"] = "bme280", ["bus"] = 1, ["address"] = "0x76" },
        },
    };

    public async ValueTask InitializeAsync() => _world = await World.StartAsync(Settings);

    public async ValueTask DisposeAsync()
    {
        if (_world is not null) await _world.DisposeAsync();
    }

    static void Report(string text) => TestContext.Current.TestOutputHelper?.WriteLine(text);

    [Fact]
    public async Task The_page_loads_without_errors_and_without_requests_to_other_servers()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        await watched.UntilAsync("#sensor-list", "Attic <b>north</b>"); // Not interpreted as HTML.
        await watched.UntilAsync("#sensor-list .tag", "failing");
        await watched.UntilAsync("#refused", "Refused: maxInFlightBatches: 900 is not allowed");
        await watched.UntilAsync("#refused", "batchsize: there is no such setting (did you mean batchSize?)");
        await watched.UntilAsync("#events", "Sensor boiler (bme280) fails");
        await watched.Page.Locator(".spark path").First.WaitForAsync(new() { State = WaitForSelectorState.Attached });
        await watched.Page.GetByRole(AriaRole.Button, new() { Name = "History of cellar" }).ClickAsync();
        await watched.Page.Locator("#chart .line").First.WaitForAsync(new() { State = WaitForSelectorState.Attached });
        await watched.KeepAsync("desktop");
        Assert.Empty(watched.Complaints);
        Assert.All(watched.Requests, url => Assert.StartsWith(_world.Url.ToString(), url, StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_page_updates_values_automatically()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        var card = watched.Page.Locator("[data-sensor=cellar]");
        var seen = new HashSet<string>();
        for (var i = 0; i < 600 && seen.Count < 3; i++)
        {
            seen.Add(await card.Locator(".values").InnerTextAsync());
            await watched.Page.WaitForTimeoutAsync(100);
        }

        Assert.True(seen.Count >= 3, string.Join('|', seen));
        Assert.Empty(watched.Complaints);
    }

    [Fact]
    public async Task The_page_shows_a_blackout_and_its_end()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        var clock = TimeProvider.System;
        var began = clock.GetTimestamp();
        await _world.FaultAsync("blackout", true);
        await watched.UntilAsync("#link-state", "No connection");
        Report($"the blackout shows after {clock.GetElapsedTime(began).TotalSeconds:0.0} s");
        await watched.UntilAsync("#banner", "readings wait safely on the volume");
        Assert.Equal("bad", await watched.Page.Locator("#banner").GetAttributeAsync("data-state"));
        await watched.KeepAsync("blackout");

        began = clock.GetTimestamp();
        await _world.FaultAsync("blackout", false);
        await watched.UntilAsync("#link-state", "Connected");
        Report($"its end shows after {clock.GetElapsedTime(began).TotalSeconds:0.0} s, including back-off");
        Assert.Empty(watched.Complaints);
    }

    [Fact]
    public async Task The_page_reports_a_stopped_module_and_reconnects_automatically()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await _world.StopModuleAsync();
        await watched.UntilAsync("#live-text", "module does not answer");
        await watched.UntilAsync("#banner-title", "The module does not answer");
        await _world.StartModuleAsync();
        await watched.UntilAsync("#live-text", "live");
        await watched.UntilAsync("#link-state", "Connected");
    }

    [Fact]
    public async Task The_page_reports_a_module_that_hangs_and_reconnects_automatically()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        await _world.HoldModuleAsync(true);
        await watched.UntilAsync("#live-text", "module does not answer");
        await watched.UntilAsync("#banner-title", "The module does not answer");
        await _world.HoldModuleAsync(false);
        await watched.UntilAsync("#live-text", "live");
        await watched.UntilAsync("#link-state", "Connected");
        Assert.Empty(watched.Complaints);
    }

    [Fact]
    public async Task A_page_beyond_the_connection_limit_reports_it_and_still_shows_the_status()
    {
        const int MaxStreams = 8;
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        await watched.Page.EvaluateAsync("stop()");
        using var http = new HttpClient { BaseAddress = _world.Url };
        var others = new List<Stream>();
        for (var i = 0; i < 600 && others.Count < MaxStreams; i++)
        {
            // The page's own stream may still count for a moment.
            var answer = await http.GetAsync("api/stream", HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
            if (answer.IsSuccessStatusCode) others.Add(await answer.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));
            else await watched.Page.WaitForTimeoutAsync(100);
        }

        await watched.Page.EvaluateAsync("[byId('about').textContent, byId('banner-title').textContent] = ['', '']");
        await watched.Page.EvaluateAsync("listen()");
        await watched.UntilAsync("#live-text", "too many pages are open");
        await watched.UntilAsync("#about", ", up ");
        Assert.DoesNotContain("not answer", await watched.TextAsync("#banner-title"), StringComparison.Ordinal);
        others.ForEach(other => other.Dispose());
        await watched.Page.Locator("#live[data-state=good]").WaitForAsync();
    }

    [Fact]
    public async Task Screen_readers_do_not_announce_changes_every_second()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#link-state", "Connected"); // At first, the starting module is not connected.
        await _world.FaultAsync("blackout", true);
        await watched.UntilAsync("#banner-title", "No connection");
        await watched.UntilAsync("#banner-text", "readings wait safely on the volume");
        const string Listen = """
            () => new Promise((done) => {
              const [spoken, texts] = [[], new Set()];
              document.querySelectorAll('[role=status], [role=alert], [role=log], [aria-live]:not([aria-live=off])').forEach((region) =>
                new MutationObserver(() => spoken.push(region.textContent)).observe(region, { subtree: true, childList: true, characterData: true }));
              new MutationObserver(() => {
                texts.add(byId('banner-text').textContent);
                if (texts.size === 4) done(spoken);
              }).observe(byId('banner-text'), { childList: true });
            })
            """;
        Assert.Empty(await watched.Page.EvaluateAsync<string[]>(Listen));
        await watched.Page.GetByRole(AriaRole.Status).Filter(new() { HasText = "No connection" }).WaitForAsync();
        Assert.Empty(watched.Complaints);
    }

    [Theory]
    [InlineData(320, ColorScheme.Light)]
    [InlineData(320, ColorScheme.Dark)]
    [InlineData(390, ColorScheme.Dark)]
    [InlineData(768, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    [InlineData(1920, ColorScheme.Light)]
    public async Task Nothing_is_cut_off_and_axe_finds_no_violation(int width, ColorScheme scheme)
    {
        await using var watched = await browser.OpenAsync(_world.Url, width, 900, scheme, isTouched: width < 500);
        await watched.UntilAsync("#link-state", "Connected");
        await watched.UntilAsync("#events", "Sensor boiler (bme280) fails");
        await watched.KeepAsync($"{width}-{scheme.ToString().ToLowerInvariant()}");
        await watched.CheckAsync(width);
    }

    [Fact]
    public async Task All_links_and_scrollable_areas_are_reachable_by_keyboard()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#sensor-list > li:first-child", "boiler");
        var reached = new List<string>();
        for (var i = 0; i < 20; i++)
        {
            await watched.Page.Keyboard.PressAsync("Tab");
            reached.Add(await watched.Page.EvaluateAsync<string>("document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.className || document.activeElement.value || document.activeElement.textContent"));
            // The outline of a radio button is on its visible label.
            Assert.NotEqual("none", await watched.Page.EvaluateAsync<string>("getComputedStyle(document.activeElement.type === 'radio' ? document.activeElement.nextElementSibling : document.activeElement).outlineStyle"));
            if (i == 0)
            {
                await watched.Page.Keyboard.PressAsync("Enter");
                Assert.Equal("sensors", await watched.Page.EvaluateAsync<string>("document.activeElement.id"));
            }

            if (reached[^1] == "Readiness") break;
        }

        Assert.Equal(
        [
            "skip", "History of boiler", "History of Attic <b>north</b>", "History of cellar", "History of host",
            "history-sensor", "history-value", "3600", "The same as a table", "events", "scroll", "Metrics", "Status as JSON", "Health", "Readiness",
        ], reached);
    }

    [Fact]
    public async Task The_focus_stays_when_the_order_of_sensors_changes()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        var button = watched.Page.GetByRole(AriaRole.Button, new() { Name = "History of cellar" });
        await button.FocusAsync();
        await watched.Page.EvaluateAsync("show({ ...latest, sensors: [...latest.sensors].reverse() })");
        Assert.Equal("History of cellar", await watched.Page.EvaluateAsync<string>("document.activeElement.ariaLabel"));
    }

    [Fact]
    public async Task Problems_are_described_in_words()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        const string Show = """
            () => {
              const well = { ...latest, faults: [], settingsRefused: 0, sensors: latest.sensors.filter((s) => s.state !== 'Failing'),
                link: { ...latest.link, state: 'Up' }, queue: { ...latest.queue, deadLetters: 0, drainedInSeconds: 0 } };
              const said = (change) => {
                show({ ...well, ...change });
                return `${byId('banner').dataset.state} ${byId('banner-title').textContent}: ${byId('banner-text').textContent}`;
              };
              const link = (state) => ({ link: { ...well.link, state, lastError: 'answered 401: who are you?', lastErrorAt: latest.now } });
              return [
                said({}), said(link('Refusing')), byId('link-state').textContent, byId('link-error').textContent, document.title,
                said(link('Failing')), said({ sensors: [] }), said({ settingsRefused: 2 }), said({ queue: { ...well.queue, deadLetters: 3 } }),
                duration(59.7), duration(119.6), duration(3599.7), duration(86399.9), duration(61.2),
              ];
            }
            """;
        var said = await watched.Page.EvaluateAsync<string[]>(Show);
        Assert.Collection(
            said,
            text => Assert.StartsWith("good All is well: ", text, StringComparison.Ordinal),
            text => Assert.StartsWith("bad The receiver refuses: answered 401: who are you?. ", text, StringComparison.Ordinal),
            text => Assert.Equal("The receiver refuses", text),
            text => Assert.Equal("answered 401: who are you?", text),
            text => Assert.StartsWith("! ", text, StringComparison.Ordinal),
            text => Assert.StartsWith("bad The receiver answers with an error: answered 401: who are you?. ", text, StringComparison.Ordinal),
            text => Assert.StartsWith("wait No sensor is configured: ", text, StringComparison.Ordinal),
            text => Assert.StartsWith("wait Some settings are not in force: 2 are refused", text, StringComparison.Ordinal),
            text => Assert.StartsWith("wait Some readings were refused permanently: The receiver refused 3", text, StringComparison.Ordinal),
            text => Assert.Equal("1 min 0 s", text),
            text => Assert.Equal("2 min 0 s", text),
            text => Assert.Equal("1 h 0 min", text),
            text => Assert.Equal("1 d 0 h", text),
            text => Assert.Equal("1 min 1 s", text));
        Assert.Empty(watched.Complaints);
    }

    [Theory]
    [InlineData(1024)]
    [InlineData(1280)]
    [InlineData(1920)]
    public async Task The_cards_at_the_top_have_no_large_gaps(int width)
    {
        // The gap between two rows is at most one and a half lines.
        const string Gaps = """
            () => [...document.querySelectorAll('.tiles > .card')].map((card) => {
              const parts = [...card.querySelectorAll('h2, h3, p, dt, dd, tr, .meter')].filter((part) => part.offsetHeight)
                .map((part) => part.getBoundingClientRect()).sort((a, b) => a.top - b.top);
              const end = card.getBoundingClientRect().bottom - parseFloat(getComputedStyle(card).paddingBottom);
              return Math.max(...parts.map((part, i) => (i + 1 < parts.length ? parts[i + 1].top : end) - part.bottom));
            })
            """;
        await using var watched = await browser.OpenAsync(_world.Url, width);
        await watched.UntilAsync("#link-state", "Connected");
        var gaps = await watched.Page.EvaluateAsync<double[]>(Gaps);
        Assert.Equal(3, gaps.Length);
        Assert.All(gaps, gap => Assert.InRange(gap, -50, 36));
    }

    [Fact]
    public async Task The_page_shows_messages_lost_by_edgeHub_and_readings_sent_again()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.Page.EvaluateAsync("""
            () => {
              const upstream = { handedOver: 12, handedOverSince: latest.now, lostMessages: 3, returnedReadings: 60 };
              show({ ...latest, queue: { ...latest.queue, depth: 7 }, link: { ...latest.link, custody: 'cloud', delivered: 5000, upstream } });
            }
            """);
        Assert.Equal(
            "waiting here 7 handed over to edgeHub 12, the first 0 s ago delivered to the cloud 5,000 lost by edgeHub 3 messages; 60 readings sent again",
            string.Join(' ', (await watched.TextAsync("#custody")).Split('\n', StringSplitOptions.RemoveEmptyEntries)));
    }

    [Fact]
    public async Task An_event_of_an_earlier_day_is_shown_with_its_date()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        const string Show = """
            async () => {
              const ask = fetch;
              const events = ['2026-03-01T22:59:58Z', '2026-03-02T00:00:01Z'].map((time) => ({ time, level: 'Error', text: 'x' }));
              window.fetch = async () => ({ json: async () => ({ events }) });
              latest = { ...latest, now: '2026-03-02T08:00:00Z' };
              const shown = showEvents();
              window.fetch = ask;
              await shown;
              return [...document.querySelectorAll('#events time')].map((time) => time.textContent);
            }
            """;
        Assert.Equal(["1 Mar 2026 22:59:58", "00:00:01"], await watched.Page.EvaluateAsync<string[]>(Show));
    }

    [Fact]
    public async Task A_page_of_another_version_of_the_module_reloads_once()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.Page.EvaluateAsync("[document.body.id, latest] = ['old', { ...latest, version: '0.0.1' }]");
        await watched.Page.Locator("body:not(#old) #live[data-state=good]").WaitForAsync();
        var about = await watched.TextAsync("#about");
        await watched.Page.Locator("#about").Filter(new() { HasNotText = about }).WaitForAsync();
        Assert.Equal(2, watched.Requests.Count(url => url == _world.Url.ToString()));
    }

    [Fact]
    public async Task Screen_readers_get_descriptions_of_charts_and_states()
    {
        await using var watched = await browser.OpenAsync(_world.Url);
        await watched.UntilAsync("#link-state", "Connected");
        await watched.Page.Locator(".spark path").First.WaitForAsync(new() { State = WaitForSelectorState.Attached });
        await watched.Page.GetByRole(AriaRole.Img, new() { NameRegex = new("last .* minutes: .* to ") }).First.WaitForAsync(new() { State = WaitForSelectorState.Attached });
        await watched.Page.GetByRole(AriaRole.Status).WaitForAsync();
        await watched.Page.GetByRole(AriaRole.Meter, new() { Name = "Used share of the buffer" }).WaitForAsync();
        Assert.Equal("en", await watched.Page.EvaluateAsync<string>("document.documentElement.lang"));
    }
}
