using System.Net;
using SensorForwarder.Net;

namespace SensorForwarder.Tests.Net;

/// <summary><c>no_proxy</c> is interpreted as by curl and Go.</summary>
public sealed class NoProxyTests
{
    [Theory]
    [InlineData("*", "http://example.com/")]
    [InlineData("a.test, *", "http://10.1.2.3/")]
    [InlineData("example.com", "https://example.com/in")]
    [InlineData("example.com", "https://a.b.EXAMPLE.com./in")]
    [InlineData("Example.com.", "https://example.com/")]
    [InlineData(".example.com", "https://example.com/")]
    [InlineData(".example.com", "https://a.example.com/")]
    [InlineData("*.example.com", "https://a.example.com/")]
    [InlineData("b\u00fccher.example", "https://b\u00fccher.example/")]
    [InlineData("example.com:8443", "https://example.com:8443/")]
    [InlineData("example.com:443", "wss://example.com/")]
    [InlineData("a.test,example.com", "http://example.com/")]
    [InlineData("a.test example.com", "http://example.com/")]
    [InlineData(" a.test ,\texample.com\n", "http://example.com/")]
    [InlineData("my_host", "http://my_host/")]
    [InlineData("10.1.2.3", "http://10.1.2.3/")]
    [InlineData("10.1.2.3:8080", "http://10.1.2.3:8080/")]
    [InlineData("10.0.0.0/8", "http://10.255.2.3/")]
    [InlineData("10.1.2.3/8", "http://10.255.2.3/")]
    [InlineData("192.168.16.0/20", "http://192.168.31.255/")]
    [InlineData("0.0.0.0/0", "http://192.0.2.1/")]
    [InlineData("10.*", "http://10.255.2.3/")]
    [InlineData("192.168.1.*", "http://192.168.1.200:8080/")]
    [InlineData("10.1.*.*", "http://10.1.2.3/")]
    [InlineData("fd00::9", "http://[fd00::9]/")]
    [InlineData("[fd00::9]:8080", "http://[fd00:0::9]:8080/")]
    [InlineData("[fd00::9]", "http://[fd00::9]:8080/")]
    [InlineData("fd00::/8", "http://[fdff::1]/")]
    [InlineData("10.0.0.0/8", "http://[::ffff:10.1.2.3]/")]
    [InlineData("", "http://localhost:8080/")]
    [InlineData("", "http://127.1.2.3/")]
    [InlineData("", "http://[::1]/")]
    public void Covers(string list, string url)
    {
        var noProxy = new NoProxy(list);
        Assert.Empty(noProxy.Problems);
        Assert.True(noProxy.Covers(new(url)));
    }

    [Theory]
    [InlineData("", "http://example.com/")]
    [InlineData(null, "http://10.1.2.3/")]
    [InlineData("example.com", "http://badexample.com/")]
    [InlineData("example.com", "http://example.com.evil.test/")]
    [InlineData("a.example.com", "http://example.com/")]
    [InlineData("example.com:8443", "https://example.com/")]
    [InlineData("10.1.2.3", "http://10.1.2.31/")]
    [InlineData("10.1.2.3:8080", "http://10.1.2.3/")]
    [InlineData("10.0.0.0/8", "http://11.0.0.1/")]
    [InlineData("192.168.16.0/20", "http://192.168.32.1/")]
    [InlineData("10.*", "http://100.1.2.3/")]
    [InlineData("10.0.0.0/8", "http://host-in-10.test/")]
    [InlineData("fd00::/8", "http://[fe00::1]/")]
    [InlineData("0.0.0.0/0", "http://[fd00::9]/")]
    public void Does_not_cover(string? list, string url)
    {
        var noProxy = new NoProxy(list);
        Assert.Empty(noProxy.Problems);
        Assert.False(noProxy.Covers(new(url)));
    }

    [Theory]
    [InlineData("10.0.0.0/33")]
    [InlineData("10.0.0.0/-1")]
    [InlineData("10/8")]
    [InlineData("fd00::/129")]
    [InlineData("10.1")]
    [InlineData("10.1.2.300")]
    [InlineData("10.*.3.4")]
    [InlineData("example.*")]
    [InlineData("*example.com")]
    [InlineData("http://example.com")]
    [InlineData("example.com:http")]
    [InlineData("example.com:99999")]
    [InlineData("<local>")]
    [InlineData(":8080")]
    [InlineData(".")]
    public void An_invalid_entry_is_reported_and_does_not_affect_the_others(string entry)
    {
        var noProxy = new NoProxy($"{entry},good.test");
        Assert.Equal([entry], noProxy.Problems);
        Assert.True(noProxy.Covers(new("http://good.test/")));
        Assert.False(noProxy.Covers(new("http://other.test/")));
    }

    [Fact]
    public void A_proxy_is_named_without_its_password()
    {
        var proxy = new EnvironmentProxy(
            new WebProxy("http://pi:geheim@proxy.test:3128"), new("10.0.0.0/8,10.0.0.0/99"));
        Assert.Equal(" through the proxy proxy.test:3128", proxy.Through(new("https://example.com/")));
        Assert.Equal("", proxy.Through(new("https://10.1.2.3/")));
        Assert.True(proxy.IsBypassed(new("https://10.1.2.3/")));
        Assert.Equal(["10.0.0.0/99"], proxy.Problems);
    }
}
