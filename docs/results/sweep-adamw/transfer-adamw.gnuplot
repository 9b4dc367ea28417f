# gnuplot transfer-adamw.gnuplot  writes transfer-adamw.svg and transfer-adamw.png
data = 'transfer-adamw.dat'
do for [format in 'svg png'] {
reset
if (format eq 'svg') { set terminal svg noenhanced size 1000,510 font 'sans,10' background 'white' } else { set terminal pngcairo noenhanced size 1000,510 font 'sans,8' }
set output 'transfer-adamw'.'.'.format
set multiplot layout 1,2 title 'Learning rate transfer, AdamW' margins screen 0.0700, screen 0.9850, screen 0.2059, screen 0.9020 spacing screen 0.0700, screen 0.1373
unset key
set grid lc rgb '#dddddd'
set tics nomirror
set logscale x
set xlabel 'peak learning rate' offset 0,0.5
set ylabel 'loss above the best of the width (nats per token)' offset 1,0
set format y '%g'
set xtics ('0.001' 0.001, '0.002' 0.002, '0.004' 0.004, '0.008' 0.008, '0.016' 0.016, '0.032' 0.032)
set xrange [0.0007692307692307692:0.041600000000000005]
set yrange [-0.030367652666795475:0.38333954944141324]
set title 'SP' tc rgb 'black'
unset object
unset arrow
unset label
set arrow from 0.008959962312202105,graph 0 to 0.008959962312202105,graph 1 nohead dt 2 lw 1.5 lc rgb '#555555'
set object rectangle from 0.007345586818168548,graph 0 to 0.010929136993863518,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.004579458054395125,graph 0 to 0.00698205501480827,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.0035508287185395167,graph 0 to 0.00448719602829703,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.002513344546564896,graph 0 to 0.0027369284700725642,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 0 using 1:2:3 with yerrorbars pt 0 lc rgb '#0072b2', \
  data index 1 using 1:2:3 with yerrorbars pt 0 lc rgb '#d55e00', \
  data index 2 using 1:2:3 with yerrorbars pt 0 lc rgb '#009e73', \
  data index 3 using 1:2:3 with yerrorbars pt 0 lc rgb '#cc79a7', \
  data index 0 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 1 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 2 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 3 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.008959962312202105):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#0072b2', \
  '+' every ::::0 using (0.005654558167867195):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#d55e00', \
  '+' every ::::0 using (0.003991649348702057):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#009e73', \
  '+' every ::::0 using (0.0026227550866588906):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#cc79a7'
set title 'GDN_MUP' tc rgb 'black'
unset object
unset arrow
unset label
set arrow from 0.008959962312202105,graph 0 to 0.008959962312202105,graph 1 nohead dt 2 lw 1.5 lc rgb '#555555'
set object rectangle from 0.007345586818168548,graph 0 to 0.010929136993863518,graph 1 behind fc rgb '#0072b2' fs transparent solid 0.15 noborder
set object rectangle from 0.009013783731343615,graph 0 to 0.009904597104625693,graph 1 behind fc rgb '#d55e00' fs transparent solid 0.15 noborder
set object rectangle from 0.008280158007886935,graph 0 to 0.008547658547516837,graph 1 behind fc rgb '#009e73' fs transparent solid 0.15 noborder
set object rectangle from 0.00859271259093546,graph 0 to 0.009750805094033628,graph 1 behind fc rgb '#cc79a7' fs transparent solid 0.15 noborder
plot data index 4 using 1:2:3 with yerrorbars pt 0 lc rgb '#0072b2', \
  data index 5 using 1:2:3 with yerrorbars pt 0 lc rgb '#d55e00', \
  data index 6 using 1:2:3 with yerrorbars pt 0 lc rgb '#009e73', \
  data index 7 using 1:2:3 with yerrorbars pt 0 lc rgb '#cc79a7', \
  data index 4 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 5 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 6 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  data index 7 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#cc79a7' lw 1.5, \
  '+' every ::::0 using (0.008959962312202105):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#0072b2', \
  '+' every ::::0 using (0.009448698124460753):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#d55e00', \
  '+' every ::::0 using (0.008412845141264919):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#009e73', \
  '+' every ::::0 using (0.009153461951811477):(0) with points pt 3 ps 1.4 lw 2 lc rgb '#cc79a7'
unset margins
unset title
unset xlabel
unset ylabel
unset tics
unset border
unset logscale
unset object
unset arrow
unset label
set key center center horizontal Left reverse samplen 3
set size 1,0.11764705882352941
set origin 0,0
set xrange [0:1]
set yrange [0:1]
plot NaN with lines lw 3 lc rgb '#0072b2' title 'width 64', \
  NaN with lines lw 3 lc rgb '#d55e00' title 'width 128', \
  NaN with lines lw 3 lc rgb '#009e73' title 'width 256', \
  NaN with lines lw 3 lc rgb '#cc79a7' title 'width 512', \
  NaN with points pt 3 ps 1.4 lw 2 lc rgb 'black' title 'best of the width ± standard error', \
  NaN with lines dt 2 lw 1.5 lc rgb '#555555' title 'best lr of width 64'
unset multiplot
unset output
}
